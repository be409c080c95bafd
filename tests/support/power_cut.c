/*
 * Copyright (c) 2026, macfleet.parallels contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a directory would hold behind a power cut: a library for LD_PRELOAD, on Linux.
 *
 * It keeps a model of what is durable, the strictest that POSIX allows. A file has the content of its last fsync or
 * fdatasync, or none. A directory has the names of its own last fsync. A sync is one of everything. Whatever else was
 * written is lost: a file whose directory was not synced, a rename, an unlink, and what only sync_file_range has written
 * out.
 *
 *   POWER_CUT_ROOT    the directory that is modelled; everything else is left to the system
 *   POWER_CUT_MODEL   where the model is kept: <id> is the content of a file, <id>.names are the names in a directory,
 *                     and "root" names the directory that it begins with
 *
 * The id of a file or directory is its inode number with the time when it was made, since numbers are used again.
 * Every line of a <id>.names is: kind (d, f or o for others), mode, id, name.
 *
 * A name appears in the model at once and whole, so the process may be killed at any time. The system itself is not
 * asked to sync anything inside of the root: what it holds in memory outlives a killed process.
 *
 * power_cut_begin() says that all of a directory is durable. power_cut_arm() kills the process at one of its next
 * steps, and power_cut_steps() counts them.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define ID_BYTES 64
#define BLOCK_BYTES (1 << 16)

static char root[PATH_MAX];
static char model[PATH_MAX];
/* Held while names change and while they are read, so that a directory is seen as it was at one moment. */
static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_long steps;
static atomic_long last_step;
static atomic_int last_written = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void fail(const char *doing)
{
    fprintf(stderr, "power_cut: could not %s: %s\n", doing, strerror(errno));
    abort();
}

static void copy_path(char *to, const char *from)
{
    if (from == NULL || strlen(from) >= PATH_MAX)
        from = "";
    strcpy(to, from);
}

__attribute__((constructor)) static void read_environment(void)
{
    copy_path(root, getenv("POWER_CUT_ROOT"));
    copy_path(model, getenv("POWER_CUT_MODEL"));
}

static int is_below_root(const char *path)
{
    size_t length = strlen(root);
    return length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The path of an open file, as the system knows it. */
static int is_open_below_root(int descriptor)
{
    char link[64], path[PATH_MAX];
    if (!root[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return is_below_root(path);
}

static int is_named_below_root(int directory, const char *path)
{
    if (!root[0])
        return 0;
    if (path[0] == '/')
        return is_below_root(path);
    if (directory != AT_FDCWD)
        return is_open_below_root(directory);
    char here[PATH_MAX];
    return getcwd(here, sizeof here) != NULL && is_below_root(here);
}

static void step(void)
{
    if (atomic_fetch_add(&steps, 1) + 1 == atomic_load(&last_step))
        kill(getpid(), SIGKILL);
}

static int identify(int directory, const char *name, char *id, unsigned *mode)
{
    struct statx found;
    int flags = AT_SYMLINK_NOFOLLOW | (name[0] ? 0 : AT_EMPTY_PATH);
    if (statx(directory, name, flags, STATX_INO | STATX_MODE | STATX_TYPE | STATX_BTIME, &found) != 0)
        return -1;
    if (!(found.stx_mask & STATX_BTIME)) {
        errno = ENOTSUP;
        fail("learn when a file was made");
    }
    snprintf(id, ID_BYTES, "%llx-%llx.%09u", (unsigned long long)found.stx_ino,
             (unsigned long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
    *mode = found.stx_mode;
    return 0;
}

/* A new version of a file of the model, which publish() lets appear. */
static int new_version(char *temporary)
{
    snprintf(temporary, PATH_MAX + 16, "%s/.XXXXXX", model);
    int made = mkstemp(temporary);
    if (made < 0)
        fail("write the model");
    return made;
}

static void publish(const char *temporary, const char *id, const char *suffix)
{
    char name[PATH_MAX + ID_BYTES + 16];
    snprintf(name, sizeof name, "%s/%s%s", model, id, suffix);
    if (REAL(rename)(temporary, name) != 0)
        fail("write the model");
}

static void write_whole(int to, const char *block, size_t length)
{
    ssize_t (*real_write)(int, const void *, size_t) = REAL(write);
    while (length) {
        ssize_t done = real_write(to, block, length);
        if (done < 0)
            fail("write the model");
        block += done;
        length -= (size_t)done;
    }
}

/* Never opens the file itself if it can be read: closing it would end the locks that SQLite holds on it. */
static void content_is_durable(int descriptor)
{
    char id[ID_BYTES], link[64], temporary[PATH_MAX + 16], block[BLOCK_BYTES];
    unsigned mode;
    int from = descriptor;
    if (identify(descriptor, "", id, &mode) != 0)
        fail("look at a file");
    if ((fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        if ((from = open(link, O_RDONLY | O_CLOEXEC)) < 0)
            fail("open a file again");
    }
    int to = new_version(temporary);
    ssize_t length;
    for (off_t offset = 0; (length = pread(from, block, sizeof block, offset)) != 0; offset += length) {
        if (length < 0)
            fail("read a file");
        write_whole(to, block, (size_t)length);
    }
    close(to);
    if (from != descriptor)
        close(from);
    publish(temporary, id, "");
}

static void write_name(int to, int directory, const char *name)
{
    char id[ID_BYTES], line[ID_BYTES + NAME_MAX + 32];
    unsigned mode;
    if (identify(directory, name, id, &mode) != 0) {
        if (errno == ENOENT)
            return;
        fail("look at a name");
    }
    char kind = S_ISDIR(mode) ? 'd' : S_ISREG(mode) ? 'f' : 'o';
    int length = snprintf(line, sizeof line, "%c %o %s %s\n", kind, mode & 07777, id, name);
    write_whole(to, line, (size_t)length);
}

static void names_are_durable(int descriptor)
{
    char id[ID_BYTES], temporary[PATH_MAX + 16];
    unsigned mode;
    int again = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (entries == NULL || identify(descriptor, "", id, &mode) != 0)
        fail("read a directory");
    pthread_mutex_lock(&names_lock);
    int to = new_version(temporary);
    struct dirent *entry;
    while ((entry = readdir(entries)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            write_name(to, again, entry->d_name);
    close(to);
    publish(temporary, id, ".names");
    pthread_mutex_unlock(&names_lock);
    closedir(entries);
}

static void is_durable(int descriptor)
{
    struct stat found;
    if (fstat(descriptor, &found) != 0)
        fail("look at a file");
    if (S_ISDIR(found.st_mode))
        names_are_durable(descriptor);
    else
        content_is_durable(descriptor);
}

int fsync(int descriptor)
{
    if (!is_open_below_root(descriptor))
        return REAL(fsync)(descriptor);
    step();
    is_durable(descriptor);
    return 0;
}

int fdatasync(int descriptor)
{
    if (!is_open_below_root(descriptor))
        return REAL(fdatasync)(descriptor);
    step();
    is_durable(descriptor);
    return 0;
}

/* Several writes to one file behind one another are one step. */
static int before_write(int descriptor)
{
    if (!is_open_below_root(descriptor))
        return 0;
    if (atomic_exchange(&last_written, descriptor) != descriptor)
        step();
    return (fcntl(descriptor, F_GETFL) & O_DSYNC) != 0;
}

ssize_t write(int descriptor, const void *data, size_t length)
{
    int is_synced = before_write(descriptor);
    ssize_t done = REAL(write)(descriptor, data, length);
    if (is_synced && done > 0)
        is_durable(descriptor);
    return done;
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
    int is_synced = before_write(descriptor);
    ssize_t done = REAL(pwrite)(descriptor, data, length, offset);
    if (is_synced && done > 0)
        is_durable(descriptor);
    return done;
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset)
{
    int is_synced = before_write(descriptor);
    ssize_t done = REAL(pwrite64)(descriptor, data, length, offset);
    if (is_synced && done > 0)
        is_durable(descriptor);
    return done;
}

/* What changes names. */
#define CHANGES_NAMES(is_ours, call)                                                                                   \
    if (!(is_ours))                                                                                                    \
        return call;                                                                                                   \
    step();                                                                                                            \
    atomic_store(&last_written, -1);                                                                                   \
    pthread_mutex_lock(&names_lock);                                                                                   \
    int result = call;                                                                                                 \
    int number = errno;                                                                                                \
    pthread_mutex_unlock(&names_lock);                                                                                 \
    errno = number;                                                                                                    \
    return result;

int rename(const char *from, const char *to)
{
    CHANGES_NAMES(is_named_below_root(AT_FDCWD, from) || is_named_below_root(AT_FDCWD, to), REAL(rename)(from, to))
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    CHANGES_NAMES(is_named_below_root(from_directory, from) || is_named_below_root(to_directory, to),
                  REAL(renameat)(from_directory, from, to_directory, to))
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
    CHANGES_NAMES(is_named_below_root(from_directory, from) || is_named_below_root(to_directory, to),
                  REAL(renameat2)(from_directory, from, to_directory, to, flags))
}

int link(const char *from, const char *to)
{
    CHANGES_NAMES(is_named_below_root(AT_FDCWD, to), REAL(link)(from, to))
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    CHANGES_NAMES(is_named_below_root(to_directory, to), REAL(linkat)(from_directory, from, to_directory, to, flags))
}

int unlink(const char *path)
{
    CHANGES_NAMES(is_named_below_root(AT_FDCWD, path), REAL(unlink)(path))
}

int unlinkat(int directory, const char *path, int flags)
{
    CHANGES_NAMES(is_named_below_root(directory, path), REAL(unlinkat)(directory, path, flags))
}

int mkdir(const char *path, mode_t mode)
{
    CHANGES_NAMES(is_named_below_root(AT_FDCWD, path), REAL(mkdir)(path, mode))
}

int rmdir(const char *path)
{
    CHANGES_NAMES(is_named_below_root(AT_FDCWD, path), REAL(rmdir)(path))
}

static void all_is_durable(int directory)
{
    struct dirent *entry;
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (entries == NULL)
        fail("read a directory");
    while ((entry = readdir(entries)) != NULL) {
        struct stat found;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (fstatat(again, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) != 0)
            fail("look at a name");
        if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode))
            continue;
        int opened = openat(again, entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (opened < 0)
            fail("open a file");
        if (S_ISDIR(found.st_mode))
            all_is_durable(opened);
        else
            content_is_durable(opened);
        close(opened);
    }
    closedir(entries);
    names_are_durable(directory);
}

void sync(void)
{
    if (!root[0]) {
        REAL(sync)();
        return;
    }
    step();
    int directory = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        fail("open the root");
    all_is_durable(directory);
    close(directory);
}

/* Say that everything in a directory is durable now; the model of before must be empty. */
void power_cut_begin(const char *new_root, const char *new_model)
{
    char id[ID_BYTES], temporary[PATH_MAX + 16];
    unsigned mode;
    copy_path(root, "");
    copy_path(model, new_model);
    int directory = open(new_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || identify(directory, "", id, &mode) != 0)
        fail("open the root");
    all_is_durable(directory);
    close(directory);
    int to = new_version(temporary);
    write_whole(to, id, strlen(id));
    close(to);
    publish(temporary, "root", "");
}

/* Model a directory from now on, and kill this process before the given step: 1 is the next one, 0 never. */
void power_cut_arm(const char *new_root, const char *new_model, long step_number)
{
    copy_path(root, new_root);
    copy_path(model, new_model);
    atomic_store(&last_written, -1);
    atomic_store(&steps, 0);
    atomic_store(&last_step, step_number);
}

/* How many steps there were since: syncs, changes of names, and writes to another file than before. */
long power_cut_steps(void)
{
    return atomic_load(&steps);
}
