/* Calls that fail when a test says so. The linker (--wrap) leads every listed call of the probe here;
 * each has a counter, and the n-th call can be made to fail with an errno of the test's choice.
 * One thread only: a test drives the code under test by itself.
 *
 * Memory that the probe holds is counted too: what is left at the end is a leak.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

static char due_name[32];       /* the call that is to fail; empty: none */
static long due_in;             /* ... when it is made for the n-th time; 0: it has failed */
static int due_error;
static long held_count;         /* allocations of the probe that are not freed */

/* Let the n-th call of `name` from now on fail with `error`. Other calls go through. */
void faults_arm(const char *name, long n, int error) {
    strncpy(due_name, name, sizeof due_name - 1);
    due_in = n;
    due_error = error;
}

/* End it. Returns 1 if the call has failed, 0 if there were fewer than n calls. */
int faults_disarm(void) {
    int has_failed = due_name[0] != 0 && due_in == 0;
    due_name[0] = 0;
    return has_failed;
}

long faults_held(void) {
    return held_count;
}

static int is_due(const char *name) {
    if (due_in == 0 || strcmp(name, due_name) != 0 || --due_in > 0)
        return 0;
    errno = due_error;
    return 1;
}

static void *held(void *memory) {
    held_count += memory != NULL;
    return memory;
}

#define WRAPPED(result, name, failure, arguments, values)  \
    result __real_##name arguments;                        \
    result __wrap_##name arguments;                        \
    result __wrap_##name arguments {                       \
        return is_due(#name) ? (failure) : __real_##name values; \
    }

/* Memory. */
#define ALLOCATOR(name, arguments, values)                 \
    void *__real_##name arguments;                         \
    void *__wrap_##name arguments;                         \
    void *__wrap_##name arguments {                        \
        return is_due(#name) ? NULL : held(__real_##name values); \
    }
#define RELEASER(name)                                     \
    void __real_##name(void *memory);                      \
    void __wrap_##name(void *memory);                      \
    void __wrap_##name(void *memory) {                     \
        held_count -= memory != NULL;                      \
        __real_##name(memory);                             \
    }

ALLOCATOR(malloc, (size_t n), (n))
ALLOCATOR(calloc, (size_t count, size_t n), (count, n))
RELEASER(free)

void *__real_realloc(void *memory, size_t n);
void *__wrap_realloc(void *memory, size_t n);
void *__wrap_realloc(void *memory, size_t n) {
    if (is_due("realloc"))
        return NULL;
    return memory == NULL ? held(__real_realloc(NULL, n)) : __real_realloc(memory, n);
}

int __real_posix_memalign(void **memory, size_t alignment, size_t n);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t n);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t n) {
    if (is_due("posix_memalign"))
        return ENOMEM;
    int error = __real_posix_memalign(memory, alignment, n);
    held_count += error == 0;
    return error;
}

#ifdef FAULTS_OF_CALLS
ALLOCATOR(PyMem_RawCalloc, (size_t count, size_t n), (count, n))
RELEASER(PyMem_RawFree)

/* System calls. */
WRAPPED(int, accept4, -1, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
WRAPPED(int, bind, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAPPED(int, connect, -1, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAPPED(int, epoll_create1, -1, (int flags), (flags))
WRAPPED(int, epoll_ctl, -1, (int at, int op, int fd, struct epoll_event *e), (at, op, fd, e))
WRAPPED(int, epoll_wait, -1, (int at, struct epoll_event *e, int n, int ms), (at, e, n, ms))
WRAPPED(int, eventfd, -1, (unsigned initial, int flags), (initial, flags))
WRAPPED(int, getsockname, -1, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAPPED(int, getsockopt, -1, (int fd, int level, int name, void *v, socklen_t *n),
        (fd, level, name, v, n))
WRAPPED(int, listen, -1, (int fd, int backlog), (fd, backlog))
WRAPPED(int, pipe2, -1, (int *fds, int flags), (fds, flags))
WRAPPED(int, pthread_create, due_error, (pthread_t *t, const pthread_attr_t *a,
        void *(*entry)(void *), void *argument), (t, a, entry, argument))
WRAPPED(ssize_t, read, -1, (int fd, void *target, size_t n), (fd, target, n))
WRAPPED(ssize_t, recv, -1, (int fd, void *target, size_t n, int flags), (fd, target, n, flags))
WRAPPED(ssize_t, send, -1, (int fd, const void *s, size_t n, int flags), (fd, s, n, flags))
WRAPPED(int, setsockopt, -1, (int fd, int level, int name, const void *v, socklen_t n),
        (fd, level, name, v, n))
WRAPPED(int, shutdown, -1, (int fd, int how), (fd, how))
WRAPPED(int, socket, -1, (int domain, int kind, int protocol), (domain, kind, protocol))
WRAPPED(ssize_t, splice, -1, (int in, off64_t *in_at, int out, off64_t *out_at, size_t n,
        unsigned flags), (in, in_at, out, out_at, n, flags))
WRAPPED(ssize_t, write, -1, (int fd, const void *source, size_t n), (fd, source, n))

/* Functions of libcrypto, which are found at run time: dlsym gives ours in their place. */
#define FOUND(result, name, failure, arguments, values)    \
    static result (*found_##name) arguments;               \
    static result shim_##name arguments {                  \
        return is_due(#name) ? (failure) : found_##name values; \
    }
#define FIND(wanted)                                       \
    if (strcmp(name, #wanted) == 0) {                      \
        memcpy(&found_##wanted, &found, sizeof found);     \
        return (void *)shim_##wanted;                      \
    }

FOUND(int, EVP_CIPHER_CTX_ctrl, 0, (void *c, int what, int n, void *v), (c, what, n, v))
FOUND(int, EVP_CipherInit_ex, 0, (void *c, const void *cipher, void *engine,
      const unsigned char *key, const unsigned char *iv, int way), (c, cipher, engine, key, iv, way))
FOUND(int, EVP_CipherUpdate, 0, (void *c, unsigned char *t, int *m, const unsigned char *s, int n),
      (c, t, m, s, n))
FOUND(int, EVP_CipherFinal_ex, 0, (void *c, unsigned char *t, int *m), (c, t, m))
FOUND(unsigned char *, HMAC, NULL, (const void *md, const void *key, int key_n,
      const unsigned char *s, size_t n, unsigned char *t, unsigned *m), (md, key, key_n, s, n, t, m))

static void *(*found_EVP_CIPHER_CTX_new)(void);
static void *shim_EVP_CIPHER_CTX_new(void) {
    return is_due("EVP_CIPHER_CTX_new") ? NULL : held(found_EVP_CIPHER_CTX_new());
}

static void (*found_EVP_CIPHER_CTX_free)(void *);
static void shim_EVP_CIPHER_CTX_free(void *context) {
    held_count -= context != NULL;
    found_EVP_CIPHER_CTX_free(context);
}

void *__real_dlsym(void *library, const char *name);
void *__wrap_dlsym(void *library, const char *name);
void *__wrap_dlsym(void *library, const char *name) {
    void *found = __real_dlsym(library, name);
    FIND(EVP_CIPHER_CTX_ctrl)
    FIND(EVP_CIPHER_CTX_free)
    FIND(EVP_CIPHER_CTX_new)
    FIND(EVP_CipherFinal_ex)
    FIND(EVP_CipherInit_ex)
    FIND(EVP_CipherUpdate)
    FIND(HMAC)
    return found;
}

/* The proxy's only use of fcntl has an int for its third argument: F_SETPIPE_SZ. */
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    int value = va_arg(rest, int);
    va_end(rest);
    return is_due("fcntl64") ? -1 : __real_fcntl64(fd, command, value);
}
#endif
