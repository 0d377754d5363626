/* SPDX-License-Identifier: BSD-3-Clause */
/* A checkpoint takes the place of log and state: who takes one, which one, and what happens meanwhile. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from LEADER = {.node = 2, .incarnation = 22, .epoch = 1};

/* Never looked into: net hands them on. */
static char machine_memory, sessions_memory;
#define MACHINE  ((struct ls_machine *)(void *)&machine_memory)
#define SESSIONS ((struct ls_sessions *)(void *)&sessions_memory)

struct world {
    struct rig rig;
    struct ls_log leader;
    struct ls_image image; /* behind the leader's third entry */
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct ls_membership members = rig_members(3);
    uint8_t bytes[LS_MEMBERS_BYTES];
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS, .time = 1};
    rig_start_outside(&w->rig);
    assert_int_equal(ls_log_init(&w->leader, RIG_LOG_SIZE), 0);
    rig_entry(&w->leader, LS_ENTRY_EPOCH, 1, 0, NULL);
    ls_log_append(&w->leader, &header, bytes, ls_change_pack(&members, bytes));
    rig_entry(&w->leader, LS_ENTRY_OPERATION, 1, 1, "the last one of the checkpoint");
    w->image = (struct ls_image){.cut = {.seq = 3,
                                         .position = w->leader.end,
                                         .time = w->leader.last_time,
                                         .chain = w->leader.chain,
                                         .epochs = 1,
                                         .epoch = {w->leader.epoch[0]},
                                         .members = *ls_log_members(&w->leader)},
                                 .machine = MACHINE,
                                 .sessions = SESSIONS};
    rig_entry(&w->leader, LS_ENTRY_OPERATION, 1, 2, "the next one");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    rig_stop(&w->rig);
    ls_log_free(&w->leader);
    free(w);
    return 0;
}

static void found(struct world *w)
{
    assert_int_equal(rig_order_give(&w->rig, (struct ls_order){.kind = LS_ORDER_FOUND, .members = rig_members(3)}).code,
                     0);
}

static void give(struct world *w, struct ls_image *image)
{
    struct ls_order order = {.id = 90, .kind = LS_ORDER_REBASE, .image = image};
    assert_true(ls_spsc_push(&w->rig.seam.orders, &order));
    rig_turn(&w->rig, 0);
}

static uint32_t refusal(struct world *w, struct ls_image *image)
{
    struct ls_event event;
    uint64_t end = w->rig.log.end;
    while (ls_spsc_pop(&w->rig.seam.events, &event))
        continue;
    give(w, image);
    assert_true(rig_event(&w->rig, LS_EVENT_REBASED, &event));
    assert_int_equal(event.id, 90);
    assert_null(atomic_load(&w->rig.seam.image));
    assert_int_equal(w->rig.log.end, end); /* nothing has changed */
    return event.code;
}

/* apply's part. */
static void swap(struct world *w)
{
    struct ls_image *image = atomic_load(&w->rig.seam.image);
    assert_non_null(image);
    image->machine = NULL; /* the old one */
    atomic_store(&w->rig.seam.applied_seq, image->cut.seq);
    atomic_store(&w->rig.seam.applied, image->cut.position);
    atomic_store(&w->rig.seam.image, NULL);
}

static void ask_and_answer(struct rig *rig, uint16_t kind, uint64_t position)
{
    rig_clear(rig);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    rig_heartbeat(
        rig, LEADER, (struct ls_heartbeat_body){0},
        &(struct ls_answer_record){
            .incarnation = 11, .number = rig->replica->question, .position = position, .node = 1, .kind = kind});
    rig_turn(rig, 0);
}

static void a_replica_that_fell_behind_goes_on_behind_a_checkpoint(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    struct ls_event event;
    found(w);
    rig_seal(rig, 1);
    ask_and_answer(rig, LS_ANSWER_TOO_OLD, w->image.cut.position);
    assert_int_equal(rig_role(rig), LS_ROLE_BEHIND);
    uint64_t late = rig->replica->question;
    give(w, &w->image);
    assert_ptr_equal(atomic_load(&rig->seam.image), &w->image);
    assert_false(rig_event(rig, LS_EVENT_REBASED, &event));
    /* until apply has swapped: no frame, no order, no read */
    rig_clear(rig);
    uint64_t dropped = rig_count(rig, LS_COUNT_drop_role);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_role), dropped + 1);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_STALE, .length = 3}, "key");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_NO_SEQUENCER);
    struct ls_order seal = {.id = 91, .kind = LS_ORDER_SEAL, .epoch = 1};
    assert_true(ls_spsc_push(&rig->seam.orders, &seal));
    rig_turn(rig, 1000000);
    assert_false(ls_spsc_is_empty(&rig->seam.orders));
    assert_true(ls_replica_next_ns(rig->replica, rig->now) > rig->now);
    swap(w);
    assert_int_equal(ls_replica_next_ns(rig->replica, rig->now), rig->now);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_REBASED, &event));
    assert_int_equal(event.code, 0);
    assert_ptr_equal(rig->replica->machine, MACHINE);
    assert_int_equal(rig->log.end, w->image.cut.position);
    assert_int_equal(atomic_load(&rig->seam.commit), w->image.cut.position);
    assert_int_equal(rig->replica->commit, w->image.cut.position);
    assert_int_equal(rig->replica->peers, 2);
    assert_true(ls_spsc_is_empty(&rig->seam.orders));
    assert_int_equal(rig_count(rig, LS_COUNT_rebases), 1);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    /* the old answer, once more, is none to the new question */
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = late,
                                             .position = w->image.cut.position,
                                             .node = 1,
                                             .kind = LS_ANSWER_TOO_OLD});
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->rows, 1); /* it has asked again, with the cut's table */
    ask_and_answer(rig, LS_ANSWER_PARTING, w->image.cut.position);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    uint64_t at = w->image.cut.position;
    rig_order(rig, LEADER, at, ls_log_at(&w->leader, at), (uint32_t)(w->leader.end - at), w->leader.end);
    assert_int_equal(rig->log.last_seq, 4);
    assert_int_equal(rig->log.chain, w->leader.chain);
    assert_int_equal(rig->replica->commit, w->leader.end);
}

static void a_new_incarnation_restores_before_or_while_it_joins(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    struct ls_event event;
    rig_seal(rig, 1);
    give(w, &w->image);
    swap(w);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_REBASED, &event));
    assert_int_equal(event.code, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    struct ls_order join = {.kind = LS_ORDER_JOIN,
                            .epoch = 1,
                            .incarnation = 11,
                            .position = w->leader.end,
                            .other = 22,
                            .node = 2,
                            .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, join).code, 0);
    ask_and_answer(rig, LS_ANSWER_PARTING, w->image.cut.position);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    w->image.machine = MACHINE;
    give(w, &w->image); /* again, now joining: commit is where the cut is */
    swap(w);
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    assert_false(rig_event(rig, LS_EVENT_REACHED, &event));
    ask_and_answer(rig, LS_ANSWER_PARTING, w->image.cut.position);
    uint64_t at = w->image.cut.position;
    rig_order(rig, LEADER, at, ls_log_at(&w->leader, at), (uint32_t)(w->leader.end - at), 0);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
}

static void a_cut_without_sense_is_refused(void **state)
{
    struct world *w = *state;
    struct ls_image good = w->image, bad;
    rig_seal(&w->rig, 1);
#define REFUSED(change, code)                                                                                          \
    bad = good;                                                                                                        \
    change;                                                                                                            \
    assert_int_equal(refusal(w, &bad), code)
    assert_int_equal(refusal(w, NULL), EINVAL);
    REFUSED(bad.machine = NULL, EINVAL);
    REFUSED(bad.sessions = NULL, EINVAL);
    REFUSED(bad.cut.seq = 0, EBADMSG);
    REFUSED(bad.cut.seq = 1000, EBADMSG); /* so many do not fit */
    REFUSED(bad.cut.position += 4, EBADMSG);
    REFUSED(bad.cut.position = UINT64_MAX - 7, EBADMSG); /* the log would end */
    REFUSED(bad.cut.time = UINT64_MAX, EBADMSG);
    REFUSED(bad.cut.epochs = 0, EBADMSG);
    REFUSED(bad.cut.epochs = LS_EPOCHS_KEPT + 1, EBADMSG);
    REFUSED(bad.cut.epoch[0].epoch = 0, EBADMSG);
    REFUSED(bad.cut.epoch[0].seq = 4, EBADMSG);
    REFUSED(bad.cut.epoch[0].position = bad.cut.position, EBADMSG);
    REFUSED((bad.cut.epochs = 2, bad.cut.epoch[1] = bad.cut.epoch[0]), EBADMSG);
    REFUSED(bad.cut.members.count = 0, EBADMSG);
    REFUSED(bad.cut.members.member[1].addr.ip = 0, EBADMSG);
    REFUSED(bad.cut.members.seq = 4, EBADMSG);
    REFUSED(bad.cut.epoch[0].epoch = 2, EAGAIN); /* of an epoch that is not promised */
#undef REFUSED
}

/* C2, C6 */
static void a_checkpoint_older_than_what_must_be_kept_is_refused(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    found(w);
    rig_seal(rig, 1);
    ask_and_answer(rig, LS_ANSWER_PARTING, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&w->leader, 0), (uint32_t)w->leader.end, 0);
    assert_int_equal(refusal(w, &w->image), EBUSY); /* it follows and misses nothing */
    rig_seal(rig, 2);
    assert_int_equal(refusal(w, &w->image), ESTALE); /* it may have acknowledged more than the cut holds */
    assert_int_equal(rig_install(rig, 2), 0);
    assert_int_equal(refusal(w, &w->image), EBUSY);
    ls_replica_halt(rig->replica, LS_HALT_LOG_DAMAGED, rig->now);
    assert_int_equal(refusal(w, &w->image), EBUSY);
}

static void join(struct rig *rig, uint64_t epoch)
{
    struct ls_order order = {.kind = LS_ORDER_JOIN,
                             .epoch = epoch,
                             .incarnation = 11,
                             .position = 1 << 20,
                             .other = 22,
                             .node = 2,
                             .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, order).code, 0);
}

/* Who does not count has acknowledged nothing that binds in another epoch: commit alone is its floor. But in this one:
 * the same acknowledgement, late, is believed as soon as the new question is answered, and counts with COUNT. */
static void a_joiner_keeps_what_it_acknowledged_in_this_epoch(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    rig_seal(rig, 1);
    join(rig, 1);
    ask_and_answer(rig, LS_ANSWER_PARTING, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&w->leader, 0), (uint32_t)w->leader.end, 0);
    rig_turn(rig, 0);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->position, w->leader.end);
    assert_true(rig->log.end > w->image.cut.position);
    assert_int_equal(refusal(w, &w->image), ESTALE);
    rig_seal(rig, 2);
    join(rig, 2);
    give(w, &w->image);
    swap(w);
    rig_turn(rig, 0);
    assert_int_equal(rig->log.end, w->image.cut.position);
    w->image.machine = MACHINE;
    rig->replica->commit += 8;
    assert_int_equal(refusal(w, &w->image), ESTALE); /* below commit */
}

/* Between REACHED and COUNT: the record may say already that this incarnation counts. */
static void what_was_reached_is_kept(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    struct ls_event event;
    rig_seal(rig, 1);
    struct ls_order join = {.kind = LS_ORDER_JOIN,
                            .epoch = 1,
                            .incarnation = 11,
                            .position = w->leader.end,
                            .other = 22,
                            .node = 2,
                            .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, join).code, 0);
    ask_and_answer(rig, LS_ANSWER_PARTING, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&w->leader, 0), (uint32_t)w->leader.end, 0);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
    assert_int_equal(rig->replica->commit, 0);
    assert_int_equal(refusal(w, &w->image), ESTALE);
}

/* A new generation: alone, behind a checkpoint of an older one. */
static void a_new_generation_begins_behind_an_older_checkpoint(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    struct ls_event event;
    struct ls_order found_alone = {.kind = LS_ORDER_FOUND, .members = rig_members(1)};
    rig_seal(rig, 4);
    w->image.older = true;
    for (int again = 0; again < 2; again++) { /* a later ctrl may not know that it is done */
        give(w, &w->image);
        swap(w);
        w->image.machine = MACHINE;
        rig_turn(rig, 0);
        assert_true(rig_event(rig, LS_EVENT_REBASED, &event));
        assert_int_equal(event.code, 0);
        assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    }
    /* the older generation's members are nobody's */
    assert_int_equal(rig_seal(rig, 4).members.count, 0);
    struct ls_order join = {.kind = LS_ORDER_JOIN,
                            .epoch = 4,
                            .incarnation = 11,
                            .position = 100,
                            .other = 22,
                            .node = 2,
                            .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, join).code, EPERM);
    struct ls_order found_many = {.kind = LS_ORDER_FOUND, .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, found_many).code, EPERM);
    assert_int_equal(rig_install(rig, 4), 2);
    assert_int_equal(rig_order_give(rig, found_alone).code, 0);
    assert_int_equal(rig_order_give(rig, found_alone).code, EBUSY);
    struct ls_event sealed = rig_seal(rig, 5);
    assert_int_equal(sealed.code, 1);
    assert_int_equal(sealed.last, w->image.cut.position);
    assert_int_equal(sealed.members.count, 1);
    assert_int_equal(rig_install(rig, 5), 0);
    /* its epoch's entry, then its members; the limits are the checkpoint's */
    assert_int_equal(rig->log.last_seq, 5);
    assert_int_equal(ls_log_members(&rig->log)->seq, 5);
    assert_int_equal(ls_log_members(&rig->log)->count, 1);
    assert_int_equal(ls_log_last_epoch(&rig->log), 5);
    rig_turn(rig, 1000);
    rig_apply(rig);
    rig_turn(rig, 1000);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    assert_int_equal(rig->replica->commit, rig->log.end);
}

static void an_older_generation_is_refused_beside_a_log(void **state)
{
    struct world *w = *state;
    struct rig *rig = &w->rig;
    w->image.older = true;
    assert_int_equal(refusal(w, &w->image), EAGAIN); /* its epoch is not promised */
    rig_seal(rig, 1);
    struct ls_order join = {.kind = LS_ORDER_JOIN,
                            .epoch = 1,
                            .incarnation = 11,
                            .position = 1 << 20,
                            .other = 22,
                            .node = 2,
                            .members = rig_members(3)};
    assert_int_equal(rig_order_give(rig, join).code, 0);
    assert_int_equal(refusal(w, &w->image), EPERM); /* it has joined this generation */
    ask_and_answer(rig, LS_ANSWER_PARTING, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&w->leader, 0), (uint32_t)w->leader.end, 0);
    rig_seal(rig, 2);
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    assert_int_equal(refusal(w, &w->image), EPERM); /* and holds some of its log */
}

static void an_older_generation_is_refused_by_who_counts(void **state)
{
    struct world *w = *state;
    found(w);
    rig_seal(&w->rig, 1);
    w->image.older = true;
    assert_int_equal(refusal(w, &w->image), EPERM);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_replica_that_fell_behind_goes_on_behind_a_checkpoint),
        TEST(a_new_incarnation_restores_before_or_while_it_joins),
        TEST(a_cut_without_sense_is_refused),
        TEST(a_checkpoint_older_than_what_must_be_kept_is_refused),
        TEST(a_joiner_keeps_what_it_acknowledged_in_this_epoch),
        TEST(what_was_reached_is_kept),
        TEST(a_new_generation_begins_behind_an_older_checkpoint),
        TEST(an_older_generation_is_refused_beside_a_log),
        TEST(an_older_generation_is_refused_by_who_counts),
    };
    return cmocka_run_group_tests_name("rebase", tests, NULL, NULL);
}
