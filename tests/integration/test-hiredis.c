/* SPDX-License-Identifier: MIT */

/*
 * The control socket by hiredis, Redis' own client in C, unchanged: one request
 * at a time, pipelined, many connections; and the answers as it reads them.
 */

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

static redisContext *connect_to(const struct instance *instance)
{
        redisContext *context = redisConnectUnix(instance->socket);

        assert_non_null(context);
        if (context->err)
                fail_msg("%s: %s", instance->socket, context->errstr);
        return context;
}

static void expect_integer(redisReply *reply, int64_t expected)
{
        assert_non_null(reply);
        if (reply->type != REDIS_REPLY_INTEGER)
                fail_msg("not an integer: %s", reply->str ? reply->str : "?");
        assert_int_equal(reply->integer, expected);
        freeReplyObject(reply);
}

static void one_by_one(struct instance *instance)
{
        redisContext *c;
        redisReply *reply;

        instance_configure(instance, "[sequence orders]\n[sequence down]\nincrement = -5\n"
                                     "[sequence a/*]\n");
        instance_start(instance);
        c = connect_to(instance);
        for (int64_t i = 1; i <= 1000; i++)
                expect_integer(redisCommand(c, "INCR orders"), i);
        expect_integer(redisCommand(c, "INCRBY %s %d", "down", 3), -11);
        expect_integer(redisCommand(c, "INCR %b", "a/b", (size_t)3), 1);
        reply = redisCommand(c, "GET orders");
        assert_int_equal(reply->type, REDIS_REPLY_STRING);
        assert_string_equal(reply->str, "1000");
        freeReplyObject(reply);
        reply = redisCommand(c, "GET nobody");
        assert_int_equal(reply->type, REDIS_REPLY_NIL);
        freeReplyObject(reply);
        reply = redisCommand(c, "INCR nobody");
        assert_int_equal(reply->type, REDIS_REPLY_ERROR);
        assert_non_null(strstr(reply->str, "no such sequence"));
        freeReplyObject(reply);
        reply = redisCommand(c, "SEQ.NEXT orders 7");
        assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
        assert_int_equal(reply->elements, 3);
        assert_int_equal(reply->element[0]->integer, 1001);
        assert_int_equal(reply->element[1]->integer, 1);
        assert_int_equal(reply->element[2]->integer, 7);
        freeReplyObject(reply);
        /* A name is any bytes to Redis; to us it is a name. */
        reply = redisCommand(c, "INCR %b", "orders\0x", (size_t)8);
        assert_int_equal(reply->type, REDIS_REPLY_ERROR);
        freeReplyObject(reply);
        redisFree(c);
}

/* Answers come in the order of requests, whatever some of them wait for. */
static void pipelined(struct instance *instance)
{
        const int64_t n = (int64_t)scaled(20000);
        redisContext *c;
        void *reply;

        instance_configure(instance, "[sequence orders]\nreserve = 10\n[sequence g]\n"
                                     "kind = gapless\n[sequence t/*]\n");
        instance_start(instance);
        c = connect_to(instance);
        for (int64_t i = 0; i < n; i++)
                assert_int_equal(redisAppendCommand(c, "INCR orders"), REDIS_OK);
        for (int64_t i = 0; i < n; i++) {
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                expect_integer(reply, i + 1);
        }
        for (int64_t i = 0; i < 50; i++) {
                (void)redisAppendCommand(c, "SEQ.CREATE made/%d", (int)i);
                (void)redisAppendCommand(c, "INCR made/%d", (int)i);
                (void)redisAppendCommand(c, "INCR g");
                (void)redisAppendCommand(c, "INCR t/%d", (int)i);
                (void)redisAppendCommand(c, "SEQ.CREATE made/%d", (int)i);
                (void)redisAppendCommand(c, "INCR orders");
        }
        for (int64_t i = 0; i < 50; i++) {
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                assert_int_equal(((redisReply *)reply)->type, REDIS_REPLY_STATUS);
                freeReplyObject(reply);
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                expect_integer(reply, 1);
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                expect_integer(reply, i + 1);
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                expect_integer(reply, 1);
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                assert_int_equal(((redisReply *)reply)->type, REDIS_REPLY_ERROR);
                freeReplyObject(reply);
                assert_int_equal(redisGetReply(c, &reply), REDIS_OK);
                expect_integer(reply, n + i + 1);
        }
        redisFree(c);
}

/* --- many connections at once ---------------------------------------------------- */

#define THREADS 16

struct crowd {
        const struct instance *instance;
        const char *command;
        int64_t each;
        struct record *record;
        _Atomic(bool) failed;
};

static void *draw_many(void *argument)
{
        struct crowd *crowd = argument;
        redisContext *c = connect_to(crowd->instance);
        int64_t last = 0;

        for (int64_t i = 0; i < crowd->each; i++) {
                redisReply *reply = redisCommand(c, crowd->command);

                if (!reply || reply->type != REDIS_REPLY_INTEGER || reply->integer <= last ||
                    !record_add(crowd->record, reply->integer, 1)) {
                        atomic_store(&crowd->failed, true);
                        break;
                }
                last = reply->integer;
                freeReplyObject(reply);
        }
        redisFree(c);
        return NULL;
}

static void crowd(struct instance *instance, const char *name, int64_t each)
{
        struct crowd crowd = {.instance = instance, .each = each};
        pthread_t threads[THREADS];
        char command[64];

        (void)snprintf(command, sizeof(command), "INCR %s", name);
        crowd.command = command;
        crowd.record = record_new(1, 1, 0);
        for (size_t i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, draw_many, &crowd), 0);
        for (size_t i = 0; i < THREADS; i++)
                (void)pthread_join(threads[i], NULL);
        assert_false(crowd.failed);
        /* None skipped: nothing died. */
        assert_int_equal(record_count(crowd.record, (uint64_t)(THREADS * each)), THREADS * each);
        record_free(crowd.record);
}

static void many_at_once(struct instance *instance)
{
        instance_configure(instance, "[sequence orders]\n[sequence g]\nkind = gapless\n");
        instance_start(instance);
        crowd(instance, "orders", (int64_t)scaled(1000));
        crowd(instance, "g", (int64_t)scaled(30));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                instance_test(one_by_one),
                instance_test(pipelined),
                instance_test(many_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
