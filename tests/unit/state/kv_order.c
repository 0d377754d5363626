/* SPDX-License-Identifier: BSD-3-Clause */
/* The ordered index from inside: whatever was put and deleted in whatever order, its structure holds. */
#include "rig.h"

#include "kv_machine.h"

#define KEYS 6000

static void key_of(char *key, uint64_t i)
{
    snprintf(key, 16, "%06llu", (unsigned long long)i);
}

/* Walks the chain of leaves, then every lane; returns the number of keys. */
static uint64_t check_structure(const struct ls_machine *m)
{
    uint64_t keys = 0, leaves = 0, low = 0, standing[LS_KV_LEVELS] = {0};
    const uint8_t *last = NULL;
    uint32_t last_length = 0, leaf = 1;

    while (leaf != 0) {
        const struct ls_kv_leaf *l = &m->leaves[leaf];
        const struct ls_kv_leaf_page *page = &m->pages[m->leaf_pages[leaf]];
        assert_true(page->count <= LS_KV_PAGE_SLOTS);
        if (leaf != 1 && last != NULL)
            assert_true(ls_kv_key_compare(last, last_length, l->separator, l->length) < 0);
        for (uint32_t i = 0; i < page->count; i++) {
            uint32_t slot = page->slot[i], length = m->records[slot].length;
            const uint8_t *key = ls_kv_record_key(m, slot);
            assert_int_equal(m->records[slot].home, leaf);
            assert_true(ls_kv_key_compare(l->separator, l->length, key, length) <= 0);
            if (last != NULL)
                assert_true(ls_kv_key_compare(last, last_length, key, length) < 0);
            last = key;
            last_length = length;
        }
        for (uint32_t lane = 0; leaf != 1 && lane < l->height; lane++)
            standing[lane]++;
        low = page->count <= 7 ? low + 1 : 0;
        assert_true(low < 2 || leaf == 1 || page->next == 0); /* of two neighbours one has at least 8 */
        keys += page->count;
        leaves++;
        leaf = page->next;
    }
    assert_true(leaves <= keys / 4 + 2);
    for (uint32_t lane = 0; lane < LS_KV_LEVELS; lane++) {
        for (leaf = m->leaves[1].lane[lane]; leaf != 0; leaf = m->leaves[leaf].lane[lane]) {
            uint32_t next = m->leaves[leaf].lane[lane];
            assert_true(m->leaves[leaf].height > lane);
            if (next != 0)
                assert_true(ls_kv_key_compare(m->leaves[leaf].separator, m->leaves[leaf].length,
                                              m->leaves[next].separator, m->leaves[next].length) < 0);
            standing[lane]--;
        }
        assert_int_equal(standing[lane], 0);
    }
    return keys;
}

static void settle(struct rig *rig)
{
    for (int i = 0; i < 4; i++)
        rig_grace(rig);
}

static void ascending_keys_fill_their_leaves(void **state)
{
    struct rig rig;
    char key[16];

    (void)state;
    rig_open(&rig, KEYS, 1 << 20);
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of(key, i);
        rig_put(&rig, key, "");
    }
    settle(&rig);
    assert_int_equal(check_structure(rig.machine), KEYS);
    uint32_t free_leaves = rig.machine->leaf_pool.free_count;
    assert_true(rig.machine->leaf_pool.fresh - 1 - free_leaves <= KEYS / LS_KV_PAGE_SLOTS + 1);
    rig_close(&rig);
}

static void descending_keys(void **state)
{
    struct rig rig;
    char key[16];

    (void)state;
    rig_open(&rig, KEYS, 1 << 20);
    for (uint64_t i = KEYS; i-- > 0;) {
        key_of(key, i);
        rig_put(&rig, key, "");
    }
    settle(&rig);
    assert_int_equal(check_structure(rig.machine), KEYS);
    for (uint64_t i = KEYS; i-- > 0;) {
        key_of(key, i);
        rig_delete(&rig, key);
        if (i % 1000 == 0) {
            settle(&rig);
            assert_int_equal(check_structure(rig.machine), i);
        }
    }
    rig_close(&rig);
}

/* Grows and shrinks at random; in the end nothing is left and everything has come back to the pools. */
static void random_keys(void **state)
{
    struct rng rng = {.state = rng_seed(5)};
    struct rig rig;
    char key[16];

    (void)state;
    rig_open(&rig, KEYS, 1 << 20);
    for (int phase = 0; phase < 12; phase++) {
        for (int i = 0; i < KEYS; i++) {
            key_of(key, rng_below(&rng, KEYS));
            if (rng_below(&rng, 10) < (phase % 2 ? 1u : 9u))
                rig_put(&rig, key, "");
            else
                rig_delete(&rig, key);
            if (rng_below(&rng, 50) == 0)
                rig_grace(&rig);
        }
        settle(&rig);
        assert_int_equal(check_structure(rig.machine), rig.machine->keys);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        key_of(key, i);
        rig_delete(&rig, key);
    }
    settle(&rig);
    assert_int_equal(check_structure(rig.machine), 0);
    assert_int_equal(rig.machine->record_pool.free_count, rig.machine->record_pool.fresh - 1);
    assert_int_equal(rig.machine->version_pool.free_count, rig.machine->version_pool.fresh - 1);
    assert_int_equal(rig.machine->block_pool.free_count, rig.machine->block_pool.fresh - 1);
    assert_int_equal(rig.machine->leaf_pool.free_count, rig.machine->leaf_pool.fresh - 2);
    assert_int_equal(rig.machine->page_pool.free_count, rig.machine->page_pool.fresh - 2);
    assert_int_equal(rig.machine->retired_head, rig.machine->retired_tail);
    assert_int_equal(rig.machine->retired_keys, 0);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ascending_keys_fill_their_leaves),
        cmocka_unit_test(descending_keys),
        cmocka_unit_test(random_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
