/* Faults below a process: the n-th call of one function on one file dies, fails or is cut short.

   Preloaded into a test's process, which then calls fault_arm. Nothing happens before that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char wanted_call[32], wanted_path[256], wanted_action[16];
static long countdown = -1; /* calls until it happens; negative: never */
static long repeats = 0;    /* further calls that fail alike */

void fault_arm(const char *call, const char *path, long nth, const char *action, long times) {
    strncpy(wanted_call, call, sizeof wanted_call - 1);
    strncpy(wanted_path, path, sizeof wanted_path - 1);
    strncpy(wanted_action, action, sizeof wanted_action - 1);
    repeats = times - 1;
    countdown = nth;
}

static int is_due(const char *call, const char *path) {
    if (countdown < 0 || strcmp(call, wanted_call) || !strstr(path, wanted_path)) return 0;
    if (countdown > 0) { countdown--; return 0; }
    if (repeats > 0) repeats--; else countdown = -1;
    return 1;
}

static int is_due_on(const char *call, int file) {
    char link[64], path[4096];
    if (countdown < 0 || strcmp(call, wanted_call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_due(call, path);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }
static int is_action(const char *action) { return !strcmp(wanted_action, action); }
static int fails(void) {
    if (is_action("eio")) { errno = EIO; return 1; }
    if (is_action("enospc")) { errno = ENOSPC; return 1; }
    return 0;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__) = NULL; \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t)
    if (!is_due_on("write", file)) return real(file, data, size);
    if (is_action("before")) die();
    if (fails()) return -1;
    ssize_t done = real(file, data, is_action("short") || is_action("torn") ? (size + 1) / 2 : size);
    if (is_action("after") || is_action("torn")) die();
    return done;
}

static ssize_t pwrite_any(const char *name, int file, const void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, name);
    if (!is_due_on("pwrite", file)) return real(file, data, size, at);
    if (is_action("before")) die();
    if (fails()) return -1;
    ssize_t done = real(file, data, is_action("torn") ? (size + 1) / 2 : size, at);
    if (is_action("after") || is_action("torn")) die();
    return done;
}
ssize_t pwrite(int f, const void *d, size_t s, off_t a) { return pwrite_any("pwrite", f, d, s, a); }
ssize_t pwrite64(int f, const void *d, size_t s, off64_t a) {
    return pwrite_any("pwrite64", f, d, s, a);
}

#define ON_FILE(name) \
    int name(int file) { \
        REAL(int, #name, int) \
        if (!is_due_on("sync", file)) return real(file); \
        if (is_action("before")) die(); \
        if (fails()) return -1; \
        int done = real(file); \
        if (is_action("after")) die(); \
        return done; \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

int flock(int file, int how) {
    REAL(int, "flock", int, int)
    int done = real(file, how);
    if (done == 0 && is_due_on("flock", file)) die();
    return done;
}

int rename(const char *old, const char *new) {
    REAL(int, "rename", const char *, const char *)
    if (!is_due("rename", new)) return real(old, new);
    if (is_action("before")) die();
    if (fails()) return -1;
    int done = real(old, new);
    if (is_action("after")) die();
    return done;
}

int unlinkat(int folder, const char *path, int flags) { /* as the removal of a tree does */
    REAL(int, "unlinkat", int, const char *, int)
    if (!is_due("unlinkat", path)) return real(folder, path, flags);
    if (is_action("before")) die();
    int done = real(folder, path, flags);
    if (is_action("after")) die();
    return done;
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *)
    if (!is_due("rmdir", path)) return real(path);
    if (is_action("before")) die();
    int done = real(path);
    if (is_action("after")) die();
    return done;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *)
    if (!is_due("unlink", path)) return real(path);
    if (is_action("before")) die();
    int done = real(path);
    if (is_action("after")) die();
    return done;
}
