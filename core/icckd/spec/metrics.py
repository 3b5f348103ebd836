"""The catalogue of metrics: name, unit, direction, meaning. One name everywhere.

A *series* has a value per epoch, an *outcome* one value per stage. Stages record their outcomes;
the convergence outcomes alone are derived from series when results are read (views/outcome.sql),
because the accuracy that counts as converged belongs to the study, not to the stage.
"""

from icckd.spec.evaluation_metrics import EVALUATED, OBSERVED
from icckd.spec.metric import Metric, for_both

_OUTCOMES = (
    *EVALUATED,
    *for_both(
        "convergence",
        "epochs",
        "lower",
        "first epoch whose validation accuracy reaches [study.convergence]; inf: never",
    ),
    *for_both(
        "convergence_seconds",
        "s",
        "lower",
        "training seconds until that epoch's end; inf: never",
    ),
    *for_both(
        "stability",
        "nats",
        "lower",
        "root mean square of the step cross-entropy around its centred moving average",
    ),
    *for_both("grad_norm_max", "1", "lower", "largest gradient norm of any step"),
    *for_both("nonfinite_steps", "steps", "lower", "steps with a NaN or infinite loss term"),
    *for_both("parameters", "1", "lower", "trainable numbers of the network"),
    *for_both(
        "macs", "1", "lower", "multiply-adds of convolutions and linear layers for one image"
    ),
    *for_both("seconds", "s", "lower", "training time, evaluation excluded"),
    *for_both(
        "images_per_second", "images/s", "higher", "training images per second of training time"
    ),
    *for_both("data_share", "%", "lower", "share of the training time spent waiting for batches"),
    *for_both(
        "energy",
        "J",
        "lower",
        "energy the GPU used from training's start to its end",
        device="cuda",
    ),
    *for_both("clip_share", "%", "none", "steps whose gradient was clipped, where clipping is on"),
    *for_both(
        "overflow_share",
        "%",
        "lower",
        "steps skipped because a gradient overflowed in fp16",
        device="cuda",
    ),
    *for_both(
        "memory_rss", "bytes", "lower", "peak resident memory of the process, reset per stage"
    ),
    *for_both(
        "memory_allocated", "bytes", "lower", "torch's peak allocated GPU memory", device="cuda"
    ),
    *for_both(
        "memory_reserved", "bytes", "lower", "torch's peak reserved GPU memory", device="cuda"
    ),
    *for_both(
        "memory_nvml",
        "bytes",
        "lower",
        "GPU memory of the process at the end, from NVML",
        device="cuda",
    ),
    Metric(
        name="student.distiller_parameters",
        unit="1",
        direction="none",
        about="trained parameters of the distiller, no part of the student",
    ),
    Metric(
        name="teacher.cache_bytes",
        unit="bytes",
        direction="lower",
        about="exact size of the negative cache's buffers",
    ),
    Metric(
        name="teacher.intra_ratio",
        unit="1",
        direction="none",
        about="step mean of weight * |grad L_intra| / |grad CE| at the pooled feature",
    ),
    Metric(
        name="teacher.anchor_share",
        unit="%",
        direction="none",
        about="share of samples that were anchors, mean over steps",
    ),
    Metric(
        name="teacher.negatives",
        unit="1",
        direction="none",
        about="negatives per sample, mean over steps",
    ),
    Metric(
        name="teacher.positive_cosine",
        unit="1",
        direction="none",
        about="cosine of a sample's two views, mean over samples and steps",
    ),
    Metric(
        name="teacher.negative_cosine",
        unit="1",
        direction="none",
        about="cosine of a sample and its negatives, mean over pairs, then over steps",
    ),
    Metric(
        name="teacher.skipped_rows",
        unit="1",
        direction="lower",
        about="rows too short to pull on, over all steps",
    ),
    Metric(
        name="teacher.supcon_ratio",
        unit="1",
        direction="none",
        about="step mean of weight * |grad L_supcon| / |grad CE| at the pooled feature",
    ),
)

TERMS = (
    ("kd", "nats", "KD's divergence from the teacher, with T^2"),
    ("fitnet", "1", "FitNet's squared error of the regressed map"),
    ("at", "1", "AT's squared difference of attention maps, summed over stages"),
    ("sp", "1", "SP's squared difference of similarity matrices"),
    ("cc", "1", "CC's difference of correlations"),
    ("rkd_distance", "1", "RKD's Huber loss of relative distances"),
    ("rkd_angle", "1", "RKD's Huber loss of the cosines of angles"),
    ("pkt", "nats", "PKT's divergence of affinities, mean over pairs"),
    ("vid", "nats", "VID's negative log-likelihood of the teacher's maps, summed over stages"),
    ("crd_student", "nats", "CRD's contrast of student embeddings against stored teacher ones"),
    ("crd_teacher", "nats", "CRD's contrast of teacher embeddings against stored student ones"),
    ("dkd_target", "nats", "DKD's divergence of the target probability, with T^2"),
    ("dkd_nontarget", "nats", "DKD's divergence among the other classes, with T^2"),
    ("nkd_target", "nats", "NKD's cross-entropy of the target class"),
    ("nkd_nontarget", "nats", "NKD's cross-entropy among the other classes, with T^2"),
    ("reviewkd", "1", "ReviewKD's hierarchical squared error, summed over levels"),
    ("dist_inter", "1", "DIST's 1 - correlation over the classes of an image, with T^2"),
    ("dist_intra", "1", "DIST's 1 - correlation over the images of a batch, with T^2"),
    ("ckd", "nats", "CKD's cross-entropy over the batch's images"),
)
"""A distiller's terms before their weights; a sum's terms have names of their own."""

_SERIES = (
    *OBSERVED,
    *for_both("ce", "nats", "lower", "cross-entropy on the training batches"),
    *for_both("grad_norm", "1", "none", "mean gradient norm"),
    *for_both("lr", "1", "none", "learning rate of the epoch"),
    *for_both("train_seconds", "s", "none", "training seconds since the stage's start"),
    Metric(
        name="teacher.intra",
        unit="nats",
        direction="lower",
        about="intra-class contrastive loss, mean over the batch, before its weight",
    ),
    *(
        Metric(name=f"student.{name}", unit=unit, direction="lower", about=about)
        for name, unit, about in TERMS
    ),
    Metric(
        name="teacher.supcon",
        unit="nats",
        direction="lower",
        about="supervised contrastive loss, mean over all views, before its weight",
    ),
    *(
        Metric(
            name=f"teacher.margin_over_{percent}",
            unit="%",
            direction="none",
            about=f"share of samples with a margin above {percent / 100:g}",
        )
        for percent in (0, 25, 50, 75, 90)
    ),
    Metric(
        name="teacher.cache_fill", unit="%", direction="none", about="entries of the cache in use"
    ),
    Metric(
        name="teacher.cache_age",
        unit="steps",
        direction="none",
        about="steps since an entry was stored, mean over entries",
    ),
    Metric(
        name="teacher.cache_drift",
        unit="1",
        direction="higher",
        about="cosine between a cached entry and its encoding now, oldest and newest batch",
    ),
)

OUTCOMES: dict[str, Metric] = {metric.name: metric for metric in _OUTCOMES}
SERIES: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        *_SERIES,
        *(
            OUTCOMES[n]
            for n in (
                "teacher.anchor_share",
                "teacher.negatives",
                "teacher.intra_ratio",
                "teacher.positive_cosine",
                "teacher.negative_cosine",
                "teacher.skipped_rows",
                "teacher.supcon_ratio",
                "student.clip_share",
                "teacher.clip_share",
                "student.overflow_share",
                "teacher.overflow_share",
            )
        ),
    ]
}
