/* What stands at the head of the AppImage: shows the file system that follows it in the same file
 * (SquashFS, by libsquashfuse and libfuse3), and becomes the app in it.
 *
 * The specification: https://github.com/AppImage/AppImageSpec, type 2. The usual program for this
 * place can only be had from where it is developed; this one is built of a distribution's packages.
 *
 *     --appimage-extract   unpack into squashfs-root, where there is no FUSE
 *     --appimage-mount     show the file system until interrupted, and say where
 *     --appimage-offset    say where in the file it begins
 *
 * A second process serves the file system. It ends with the last process that was started from it,
 * not with the app: what ends a crashed app's trainers runs from here, too.
 */
#define _GNU_SOURCE
#include <config.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <ll.h>
#include <pthread.h>
#include <spawn.h>
#include <squashfuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT_START 127
#define LOOK_MICROSECONDS 500000

extern char **environ;

static char image[PATH_MAX];
static char mount_point[PATH_MAX];

static void die(const char *what) {
    fprintf(stderr, "AppImage: %s: %s\n", what, strerror(errno));
    exit(CANNOT_START);
}

/* The file system begins where this program ends: behind its table of sections. */
static off_t end_of_program(void) {
    Elf64_Ehdr header;
    int file = open(image, O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, &header, sizeof header) != sizeof header)
        die(image);
    close(file);
    return header.e_shoff + (off_t)header.e_shnum * header.e_shentsize;
}

/* --- showing it ------------------------------------------------------------------------------- */

static int unmounted(void) {
    pid_t helper;
    int status;
    char *command[] = {"fusermount3", "-u", "-q", mount_point, NULL};

    if (umount2(mount_point, UMOUNT_NOFOLLOW) == 0)
        return 1;
    if (posix_spawnp(&helper, command[0], NULL, NULL, command, environ) != 0)
        return 0;
    return waitpid(helper, &status, 0) == helper && status == 0;
}

/* Wait for the end of the app, and then of all that uses its files. */
static void *watch(void *app) {
    while (getppid() == *(pid_t *)app || !unmounted())
        usleep(LOOK_MICROSECONDS);
    return NULL;
}

static const struct fuse_lowlevel_ops operations = {
    .init = sqfs_ll_op_init,
    .getattr = sqfs_ll_op_getattr,
    .opendir = sqfs_ll_op_opendir,
    .releasedir = sqfs_ll_op_releasedir,
    .readdir = sqfs_ll_op_readdir,
    .lookup = sqfs_ll_op_lookup,
    .open = sqfs_ll_op_open,
    .create = sqfs_ll_op_create,
    .release = sqfs_ll_op_release,
    .read = sqfs_ll_op_read,
    .readlink = sqfs_ll_op_readlink,
    .listxattr = sqfs_ll_op_listxattr,
    .getxattr = sqfs_ll_op_getxattr,
    .forget = sqfs_ll_op_forget,
    .statfs = stfs_ll_op_statfs,
};

/* Serve the file system to the app until it is unmounted. ready: told when it is there. */
static int serve(off_t offset, int ready, pid_t app) {
    char *words[] = {"AppImage", "-o", "ro,nosuid,nodev,fsname=AppImage,subtype=squashfuse"};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
    struct fuse_lowlevel_ops calls = operations;
    sqfs_ll_chan channel = {0};
    sqfs_ll *files = sqfs_ll_open(image, offset);
    pthread_t watcher;

    if (files == NULL ||
        sqfs_ll_mount(&channel, mount_point, &arguments, &calls, sizeof calls, files) != SQFS_OK)
        return CANNOT_START;
    setsid(); /* a terminal's Ctrl-C is for the app */
    if (write(ready, "", 1) != 1 || pthread_create(&watcher, NULL, watch, &app) != 0)
        return CANNOT_START;
    for (int each = 0; each <= 2; each++) /* or whoever reads what the app says would wait for us */
        dup2(open("/dev/null", O_RDWR | O_CLOEXEC), each);
    fuse_session_loop(channel.session);
    rmdir(mount_point);
    return 0;
}

/* Let another process serve it; returns once it is there. */
static void show(off_t offset) {
    int ready[2];
    char told;
    pid_t app = getpid(); /* it becomes the app */
    const char *folder = getenv("TMPDIR");

    snprintf(mount_point, sizeof mount_point, "%s/.mount_cotrain-XXXXXX", folder ? folder : "/tmp");
    if (mkdtemp(mount_point) == NULL || pipe2(ready, O_CLOEXEC) != 0)
        die(mount_point);
    switch (fork()) {
    case -1:
        die("fork");
        break;
    case 0:
        _exit(serve(offset, ready[1], app));
    }
    close(ready[1]);
    if (read(ready[0], &told, 1) != 1) {
        rmdir(mount_point);
        fprintf(stderr,
                "AppImage: this needs FUSE, which isn't here or may not be used (Debian, Ubuntu:\n"
                "apt install fuse3). Without it: start with --appimage-extract, then start\n"
                "squashfs-root/AppRun.\n");
        exit(CANNOT_START);
    }
}

/* --- unpacking it ----------------------------------------------------------------------------- */

static void write_file(sqfs *files, sqfs_inode *node, const char *path) {
    static char block[1 << 20];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, node->base.mode & 0777);
    if (file < 0)
        die(path);
    for (sqfs_off_t at = 0;;) {
        sqfs_off_t size = sizeof block;
        if (sqfs_read_range(files, node, at, &size, block) != SQFS_OK)
            die(path);
        if (size == 0)
            break;
        if (write(file, block, size) != size)
            die(path);
        at += size;
    }
    close(file);
}

static void write_link(sqfs *files, sqfs_inode *node, const char *path) {
    char target[PATH_MAX];
    size_t size = sizeof target;
    if (sqfs_readlink(files, node, target, &size) != SQFS_OK)
        die(path);
    unlink(path);
    if (symlink(target, path) != 0)
        die(path);
}

static int extract(off_t offset) {
    sqfs files;
    sqfs_fd_t file;
    sqfs_inode node;
    sqfs_traverse walk;
    sqfs_err error = SQFS_OK;
    char path[PATH_MAX];

    if (sqfs_fd_open(image, &file, 1) != SQFS_OK || sqfs_init(&files, file, offset) != SQFS_OK ||
        sqfs_traverse_open(&walk, &files, sqfs_inode_root(&files)) != SQFS_OK)
        die(image);
    mkdir("squashfs-root", 0755);
    while (sqfs_traverse_next(&walk, &error)) {
        if (walk.dir_end)
            continue;
        snprintf(path, sizeof path, "squashfs-root/%s", walk.path);
        if (sqfs_inode_get(&files, &node, sqfs_dentry_inode(&walk.entry)) != SQFS_OK)
            die(path);
        if (S_ISDIR(node.base.mode)) {
            if (mkdir(path, 0755) != 0 && errno != EEXIST)
                die(path);
        } else if (S_ISLNK(node.base.mode)) {
            write_link(&files, &node, path);
        } else {
            write_file(&files, &node, path);
        }
    }
    if (error != SQFS_OK)
        die(image);
    puts("squashfs-root");
    return 0;
}

int main(int count, char **words) {
    char app_run[PATH_MAX + sizeof "/AppRun"];
    const char *wish = count > 1 ? words[1] : "";
    off_t offset;

    if (realpath("/proc/self/exe", image) == NULL)
        die("/proc/self/exe");
    offset = end_of_program();
    if (strcmp(wish, "--appimage-offset") == 0)
        return printf("%lld\n", (long long)offset) < 0;
    if (strcmp(wish, "--appimage-extract") == 0)
        return extract(offset);
    show(offset);
    if (strcmp(wish, "--appimage-mount") == 0) {
        puts(mount_point);
        fflush(stdout);
        return pause();
    }
    setenv("APPIMAGE", image, 1);
    setenv("APPDIR", mount_point, 1);
    setenv("ARGV0", words[0], 1);
    snprintf(app_run, sizeof app_run, "%s/AppRun", mount_point);
    execv(app_run, words);
    die(app_run);
}
