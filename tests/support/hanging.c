/*
 * Copyright (c) 2026, macfleet.parallels contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A directory on a file server that is away: a library for LD_PRELOAD, on Linux.
 *
 *   HANG_BELOW   the directory
 *   HANG_WHILE   as long as there is this file, whatever looks at the directory waits
 *
 * As with a hard mount of NFS, a call that waits returns when the server is back, and does what it was to do.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define PAUSE_MICROSECONDS 20000

static void wait_for(const char *path)
{
    const char *below = getenv("HANG_BELOW"), *flag = getenv("HANG_WHILE");
    size_t length = below ? strlen(below) : 0;

    if (!length || !flag || strncmp(path, below, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return;
    while (access(flag, F_OK) == 0)
        usleep(PAUSE_MICROSECONDS);
}

static void wait_for_file(int descriptor)
{
    char link[64], path[PATH_MAX];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = '\0';
        wait_for(path);
    }
}

static void wait_at(int directory, const char *path)
{
    if (path[0] == '/' || directory == AT_FDCWD)
        wait_for(path);
    else
        wait_for_file(directory);
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        wait_for(path);                                                                                                \
        return REAL(name)(path, flags, mode);                                                                          \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int directory, const char *path, int flags, ...)                                                          \
    {                                                                                                                  \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = mode_of(flags, more);                                                                            \
        va_end(more);                                                                                                  \
        wait_at(directory, path);                                                                                      \
        return REAL(name)(directory, path, flags, mode);                                                               \
    }
OPENAT(openat)
OPENAT(openat64)

#define STAT(name, kind)                                                                                               \
    int name(const char *path, struct kind *found)                                                                     \
    {                                                                                                                  \
        wait_for(path);                                                                                                \
        return REAL(name)(path, found);                                                                                \
    }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
STAT(statvfs, statvfs)
STAT(statvfs64, statvfs64)

#define FSTATAT(name, kind)                                                                                            \
    int name(int directory, const char *path, struct kind *found, int flags)                                           \
    {                                                                                                                  \
        wait_at(directory, path);                                                                                      \
        return REAL(name)(directory, path, found, flags);                                                              \
    }
FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

DIR *opendir(const char *path)
{
    wait_for(path);
    return REAL(opendir)(path);
}

#define PREAD(name, offset_type)                                                                                       \
    ssize_t name(int descriptor, void *to, size_t length, offset_type offset)                                          \
    {                                                                                                                  \
        wait_for_file(descriptor);                                                                                     \
        return REAL(name)(descriptor, to, length, offset);                                                             \
    }
PREAD(pread, off_t)
PREAD(pread64, off64_t)

ssize_t write(int descriptor, const void *from, size_t length)
{
    wait_for_file(descriptor);
    return REAL(write)(descriptor, from, length);
}

int fsync(int descriptor)
{
    wait_for_file(descriptor);
    return REAL(fsync)(descriptor);
}
