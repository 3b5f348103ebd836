"""What the XML schema of Ant's JUnit task asks of a file (JUnit.xsd by Windy Road), as a check."""

import re
from xml.etree import ElementTree

ATTRIBUTES = {
    "testsuites": {},
    "testsuite": {
        "name": r"\S+( \S+)*",
        "package": r"\S+( \S+)*",
        "id": r"\d+",
        "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
        "hostname": r"\S+",
        "tests": r"\d+",
        "failures": r"\d+",
        "errors": r"\d+",
        "skipped": r"\d+",
        "time": r"\d+(\.\d+)?",
    },
    "properties": {},
    "property": {"name": r"\S+( \S+)*", "value": r"(?s).*"},
    "testcase": {"name": r"\S+( \S+)*", "classname": r"\S+( \S+)*", "time": r"\d+(\.\d+)?"},
    "failure": {"message": r"(?s).*", "type": r".+"},
    "skipped": {"message": r"(?s).*"},
    "system-out": {},
    "system-err": {},
}
"""Every attribute is required here, though the schema leaves some out; nothing else may stand."""
CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "properties": r"(property )*",
    "testcase": r"((failure|skipped) )?",
}


def read_junit(text: str) -> ElementTree.Element:
    """Return the root of a JUnit file after checking its form."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        wanted = ATTRIBUTES[element.tag]
        assert set(element.attrib) == set(wanted), element.tag
        for name, value in element.attrib.items():
            assert re.fullmatch(wanted[name], value), (element.tag, name, value)
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN.get(element.tag, ""), children), (element.tag, children)
    for place, suite in enumerate(root):
        cases = suite.findall("testcase")
        assert int(suite.get("id")) == place
        assert int(suite.get("tests")) == len(cases)
        assert int(suite.get("errors")) == 0
        for kind in ("failure", "skipped"):
            count = sum(case.find(kind) is not None for case in cases)
            assert int(suite.get("failures" if kind == "failure" else kind)) == count
    return root


def cases(root: ElementTree.Element, kind: str) -> dict[str, ElementTree.Element]:
    """Return the test cases of a kind of suite, `gates` or `questions`, by name."""
    return {
        case.get("name"): case
        for suite in root
        if suite.get("name").startswith(f"icckd {kind} of ")
        for case in suite.findall("testcase")
    }
