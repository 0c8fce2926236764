// SPDX-License-Identifier: MIT

// seqnum.h and seqnum-inline.h from C++: they compile, link with C names, and their
// types and macros work there. Needs no daemon; what the functions do is tested in C.

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>

#include "seqnum-inline.h"
#include "seqnum.h"

static_assert(std::is_trivial<seqnum_run>::value, "a run is plain data");
static_assert(std::is_same<decltype(seqnum_run::first), std::int64_t>::value, "a number");
static_assert(SEQNUM_TIMEOUT_DEFAULT == 5000000u, "usable in a constant expression");

// The order of fields, as an aggregate.
static const seqnum_run sample{1, 2, 3};

static int failures;

static void check(bool good, const char *what)
{
        std::printf("%s - %s\n", good ? "ok" : "NOT OK", what);
        failures += !good;
}

// Their addresses, in the C++ types that a caller would expect.
static bool all_link()
{
        int (*volatile open)(seqnum **, seqnum_client *, const char *) = seqnum_open;
        int (*volatile next)(seqnum *, std::int64_t *) = seqnum_next;
        int (*volatile next_run)(seqnum *, std::uint32_t, seqnum_run *) = seqnum_next_run;
        int (*volatile peek)(seqnum *, std::int64_t *) = seqnum_peek;
        int (*volatile set_timeout)(seqnum_client *, std::uint64_t) = seqnum_set_timeout;

        int (*volatile next_inline)(seqnum *, std::int64_t *) = seqnum_next_inline;
        int (*volatile block_next)(seqnum_block *, std::int64_t *) = seqnum_block_next;
        int (*volatile block_next_inline)(seqnum_block *, std::int64_t *) =
                seqnum_block_next_inline;

        return next_inline && block_next && block_next_inline && open && next && next_run && peek && set_timeout;
}

int main()
{
        struct seqnum_client *client = nullptr;

        check(sample.first == 1 && sample.increment == 2 && sample.count == 3, "struct seqnum_run");
        check(seqnum_attach(&client, "/seqnumd-test-cxx-there-is-none", SEQNUM_RDONLY) == -ENXIO,
              "no such segment");
        check(client == nullptr, "a failure leaves the result alone");
        check(seqnum_detach(client) == nullptr, "detaching nothing");
        check(seqnum_close(nullptr) == nullptr, "closing nothing");
        check(!std::string(seqnum_strerror(-ETIMEDOUT)).empty(), "errors in words");
        check(all_link(), "every function links");
        return failures == 0 ? 0 : 1;
}
