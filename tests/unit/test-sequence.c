/* SPDX-License-Identifier: MIT */

/* The registry: sequences by name and by slot, the daemon's own copy. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sequence.h"

#define MANY 100000

static int setup(void **state)
{
        static struct registry registry;

        registry = (struct registry){0};
        *state = &registry;
        return 0;
}

static int teardown(void **state)
{
        registry_clear(*state);
        return 0;
}

static struct sequence *add(struct registry *registry, const char *name, uint64_t hi)
{
        const struct store_sequence stored = {
                .id = registry->n_sequences + 1,
                .generation = 3,
                .name = name,
                .params = sequence_params_default(),
                .origin = 7,
                .lo = hi / 2,
                .hi = hi,
        };
        struct sequence *sequence = NULL;

        assert_int_equal(registry_add(registry, &stored, &sequence), 0);
        return sequence;
}

static void test_add(void **state)
{
        struct registry *registry = *state;
        char name[] = "orders";
        struct sequence *sequence = add(registry, name, 100);

        name[0] = 'b'; /* it keeps a copy */
        assert_ptr_equal(registry_find(registry, "orders"), sequence);
        assert_null(registry_find(registry, "borders"));
        assert_null(registry_find(registry, "order"));
        assert_null(registry_find(registry, ""));
        assert_ptr_equal(registry_find_bytes(registry, "orders of 2026", 6), sequence);
        assert_null(registry_find_bytes(registry, "orders\0x", 8));
        assert_null(registry_find_bytes(registry, "orders", 5));

        assert_true(sequence->id == 1 && sequence->generation == 3);
        assert_true(sequence->lo == 50 && sequence->hi == 100 && !sequence->exact);
        assert_true(sequence->floor == 100 && sequence->ceiling == 100);
        assert_true(sequence->map.origin == 7 && sequence->map.limit == SEQUENCE_INDEX_LIMIT);
        assert_false(sequence->frozen || sequence->wanted || sequence->reserving);
        assert_int_equal(registry->n_sequences, 1);
}

static void test_duplicate(void **state)
{
        struct registry *registry = *state;
        struct sequence *first = add(registry, "orders", 1), *second = NULL;
        const struct store_sequence stored = {
                .id = 9,
                .generation = 1,
                .name = "orders",
                .params = sequence_params_default(),
                .origin = 1,
        };

        assert_int_equal(registry_add(registry, &stored, &second), -EEXIST);
        assert_null(second);
        assert_ptr_equal(registry_find(registry, "orders"), first);
        assert_true(first->id == 1);
        assert_int_equal(registry->n_sequences, 1);
}

static void test_slots(void **state)
{
        struct registry *registry = *state;
        struct sequence *a = add(registry, "a", 1), *b = add(registry, "b", 1);

        assert_null(registry_at(registry, 0));
        assert_null(registry_at(registry, UINT32_MAX));
        assert_null(registry_at(registry, a->slot));

        assert_int_equal(registry_move(registry, a, 0), 0);
        assert_int_equal(registry_move(registry, b, 70000), 0);
        assert_ptr_equal(registry_at(registry, 0), a);
        assert_ptr_equal(registry_at(registry, 70000), b);
        assert_int_equal(b->slot, 70000);
        for (uint32_t slot = 1; slot < 70000; slot++)
                assert_null(registry_at(registry, slot));

        assert_int_equal(registry_move(registry, a, 5), 0); /* its former slot serves none */
        assert_null(registry_at(registry, 0));
        assert_ptr_equal(registry_at(registry, 5), a);

        assert_int_equal(registry_move(registry, a, 5), 0); /* where it is already */
        assert_ptr_equal(registry_at(registry, 5), a);
        assert_int_equal(a->slot, 5);
}

static void test_detach(void **state)
{
        struct registry *registry = *state;
        struct sequence *a = add(registry, "a", 1), *b = add(registry, "b", 1);

        registry_detach(registry, a); /* never had one */
        assert_int_equal(registry_move(registry, a, 3), 0);
        assert_int_equal(registry_move(registry, b, 3), 0); /* taken from a */
        registry_detach(registry, a);
        assert_ptr_equal(registry_at(registry, 3), b);
        registry_detach(registry, b);
        assert_null(registry_at(registry, 3));
        assert_null(registry_at(registry, b->slot));

        assert_int_equal(registry_move(registry, a, 1), 0);
        assert_int_equal(registry_move(registry, b, 2), 0);
        registry_clear_slots(registry);
        assert_null(registry_at(registry, 1));
        assert_null(registry_at(registry, 2));
        assert_null(registry_at(registry, a->slot));
        assert_ptr_equal(registry_find(registry, "a"), a);
}

static void test_redefine(void **state)
{
        struct registry *registry = *state;
        struct sequence *sequence = add(registry, "a", 100);
        struct sequence_params params = sequence_params_default();

        params.increment = 5;
        params.max = 51;
        sequence->frozen = true;
        sequence->size = 4096;
        sequence->refilled_next = 90;
        sequence_redefine(sequence, &params, 11, 4, 1);
        assert_true(sequence->generation == 4 && sequence->id == 1);
        assert_true(sequence_params_equal(&sequence->params, &params));
        assert_true(sequence->map.limit == 9); /* 11, 16, ... 51 */
        assert_true(sequence->lo == 1 && sequence->hi == 1 && sequence->exact);
        assert_true(sequence->floor == 1 && sequence->ceiling == 1);
        assert_false(sequence->frozen);
        assert_true(sequence->size == 0 && sequence->refilled_next == 1);
        assert_true(sequence->low == UINT64_MAX);
}

static void test_many(void **state)
{
        struct registry *registry = *state;
        char name[32];
        uint32_t seen = 0;

        for (uint32_t i = 0; i < MANY; i++) {
                (void)snprintf(name, sizeof(name), "sequence/%u", i);
                assert_int_equal(registry_move(registry, add(registry, name, i), i), 0);
        }
        assert_int_equal(registry->n_sequences, MANY);
        for (uint32_t i = 0; i < MANY; i++) {
                struct sequence *sequence;

                (void)snprintf(name, sizeof(name), "sequence/%u", i);
                sequence = registry_find(registry, name);
                assert_non_null(sequence);
                assert_true(sequence->hi == i && sequence->slot == i);
                assert_ptr_equal(registry_at(registry, i), sequence);
        }
        registry_each (registry, sequence)
                seen++;
        assert_int_equal(seen, MANY);

        registry_clear(registry);
        assert_int_equal(registry->n_sequences, 0);
        assert_null(registry_find(registry, "sequence/1"));
        assert_null(registry_at(registry, 1));
        (void)add(registry, "sequence/1", 0); /* usable again */
}

static void test_durable(void **state)
{
        struct registry *registry = *state;
        struct sequence *sequence = add(registry, "a", 100);

        sequence->ceiling = 80;
        assert_true(sequence_durable(sequence) == 100);
        sequence->ceiling = 120;
        assert_true(sequence_durable(sequence) == 120);
}

#define registry_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                registry_test(test_add),      registry_test(test_duplicate),
                registry_test(test_slots),    registry_test(test_detach),
                registry_test(test_redefine), registry_test(test_many),
                registry_test(test_durable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
