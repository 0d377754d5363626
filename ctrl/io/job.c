/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread a job; the last of loop and thread frees it. See job.h. */
#include "job.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE 10

struct ls_job {
    atomic_int holders; /* loop and thread; release on letting go, acquire by the last: it sees all that was done */
    int fd;             /* eventfd: the thread writes it when result, error and arguments stand */
    struct event *event;
    ls_job_work work;
    ls_job_done done;
    void *user;
    int result;
    char error[LS_JOB_ERROR_MAX];
    uint8_t arguments[] __attribute__((aligned(16)));
};

static void let_go(struct ls_job *job)
{
    if (atomic_fetch_sub_explicit(&job->holders, 1, memory_order_acq_rel) > 1)
        return;
    close(job->fd);
    free(job);
}

static void *run(void *argument)
{
    struct ls_job *job = argument;
    uint64_t one = 1;

    (void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread alone, in Linux */
    job->result = job->work(job->arguments, job->error);
    if (write(job->fd, &one, sizeof(one)) != sizeof(one))
        abort(); /* an eventfd takes a first 1 always */
    let_go(job);
    return NULL;
}

static void on_done(evutil_socket_t fd, short what, void *argument)
{
    struct ls_job *job = argument;
    uint64_t count;

    (void)what;
    if (read(fd, &count, sizeof(count)) != sizeof(count))
        return;
    event_free(job->event);
    job->event = NULL;
    job->done(job->user, job->arguments, job->result, job->error);
    let_go(job);
}

static struct ls_job *job_new(struct event_base *base, size_t size)
{
    struct ls_job *job = calloc(1, sizeof(*job) + size);

    if (job == NULL)
        return NULL;
    job->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (job->fd >= 0)
        job->event = event_new(base, job->fd, EV_READ | EV_PERSIST, on_done, job);
    if (job->event == NULL || event_add(job->event, NULL) != 0) {
        if (job->event != NULL)
            event_free(job->event);
        if (job->fd >= 0)
            close(job->fd);
        free(job);
        return NULL;
    }
    return job;
}

struct ls_job *ls_job_start(struct event_base *base, ls_job_work work, ls_job_done done, void *user,
                            const void *arguments, size_t size)
{
    struct ls_job *job = job_new(base, size);
    sigset_t all, before;
    pthread_t thread;
    int failed;

    if (job == NULL)
        return NULL;
    job->work = work;
    job->done = done;
    job->user = user;
    memcpy(job->arguments, arguments, size);
    atomic_init(&job->holders, 2);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, NULL, run, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        event_free(job->event);
        close(job->fd);
        free(job);
        return NULL;
    }
    pthread_detach(thread);
    return job;
}

void ls_job_abandon(struct ls_job *job)
{
    if (job == NULL)
        return;
    event_free(job->event);
    job->event = NULL;
    let_go(job);
}
