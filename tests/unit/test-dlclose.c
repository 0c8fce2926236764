/* SPDX-License-Identifier: MIT */

/*
 * The shipped library as a plug-in has it: loaded late, used, unloaded. What it gave
 * the process for its life (SEQNUM_SIGBUS, the handlers of fork) must not then lead
 * to where it was.
 */

#include "unit.h"

#include <dlfcn.h>
#include <signal.h>

struct library {
        int (*attach)(struct seqnum_client **ret, const char *shm, unsigned flags);
        struct seqnum_client *(*detach)(struct seqnum_client *client);
};

static void *load(struct library *ret)
{
        const char *build = getenv("SEQNUM_BUILD");
        char path[4096];
        void *handle;

        (void)snprintf(path, sizeof(path), "%s/libseqnum.so", build && *build ? build : "build");
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
                return NULL;
        *(void **)&ret->attach = dlsym(handle, "seqnum_attach");
        *(void **)&ret->detach = dlsym(handle, "seqnum_detach");
        return ret->attach && ret->detach ? handle : NULL;
}

static void on_sigbus(int number)
{
        (void)number;
        _exit(42);
}

/* In a child, which may die: 42 if the handler that there was before is reached. */
__attribute__((noreturn)) static void use_and_unload(const char *shm)
{
        struct seqnum_client *client;
        struct library library = {0};
        void *handle;
        pid_t child;

        if (signal(SIGBUS, on_sigbus) == SIG_ERR)
                _exit(1);
        handle = load(&library);
        if (!handle || library.attach(&client, shm, SEQNUM_SIGBUS) < 0)
                _exit(2);
        (void)library.detach(client);
        if (dlclose(handle) != 0)
                _exit(3);
        child = fork();
        if (child == 0)
                _exit(0);
        if (child < 0 || unit_reap(child) != 0)
                _exit(4);
        (void)raise(SIGBUS);
        _exit(5);
}

static void test_unloaded(void **state)
{
        struct unit *unit = *state;
        int status;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0)
                use_and_unload(unit->shm);
        status = unit_reap(child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                unit_case(test_unloaded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
