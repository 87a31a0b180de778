//! What any storage must hold, whatever it is built on. A backend says how it is opened; `contract!` then
//! makes a test of each item. Nothing here knows SQLite or PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

pub(crate) mod accounts;
pub(crate) mod alarms;
pub(crate) mod boxes;
pub(crate) mod certificates;
pub(crate) mod clocks;
pub(crate) mod commands;
pub(crate) mod configurations;
pub(crate) mod fixtures;
pub(crate) mod frames;
pub(crate) mod history;
pub(crate) mod model;
pub(crate) mod retention;
pub(crate) mod sets;
pub(crate) mod times;
pub(crate) mod twins;
pub(crate) mod updates;
pub(crate) mod waveforms;

use std::sync::Arc;

use cloud_core::Storage;
use cloud_store::{Options, Place};
use common::Clock;

/// A place that storage can be opened in again and again. What is dropped without a word must be there again.
pub(crate) trait Backend {
    /// A new, empty place.
    fn fresh() -> Self;
    /// Opens what is there. The one opened before has been dropped.
    fn open(&self) -> Arc<dyn Storage> {
        self.open_with(small)
    }
    /// The same, with options and a clock of the caller's.
    fn open_with(&self, options: impl FnOnce(Place) -> (Options, Clock) + Send + 'static)
    -> Arc<dyn Storage>;
}

/// How storage is opened here: with small chunks, so that merging and sealing happen in every life, and late on the day
/// of the fixtures, so that no entry of theirs is from the future.
pub(crate) fn small(place: Place) -> (Options, Clock) {
    let options = Options { chunk_rows: 12, merge_chunks: 3, ..Options::at(place) };
    (options, Clock::simulated(fixtures::T0 + 3600 * 1_000_000))
}

/// The whole contract on a backend, and so many random lives.
#[macro_export]
macro_rules! contract {
    ($backend:ty, $lives:expr) => {
        contract_tests! { $backend:
            frames::a_store_keeps_its_identity,
            frames::ranks_are_given_in_order_over_all_gateways_and_kept,
            frames::a_frame_is_new_once_within_a_batch_over_batches_and_after_reopening,
            frames::a_frame_under_a_rank_that_was_not_given_stores_nothing,
            frames::uncompacted_frames_are_read_back_in_order_and_in_batches,
            frames::samples_of_points_that_the_schema_lacks_are_counted_and_told_once,
            frames::other_kinds_change_their_tables_once,
            frames::what_a_gateway_says_is_lost_among_others_is_known_as_far_as_it_is_lost,
            frames::a_gateway_cannot_speak_of_what_is_not_its_own,
            twins::schemas_are_kept,
            twins::a_replaced_box_takes_over_its_twin_and_keeps_the_history,
            twins::an_older_schema_adds_twins_and_changes_none,
            twins::a_device_that_gets_another_twin_leaves_the_old_one,
            twins::a_twin_of_another_tenant_cannot_be_taken,
            twins::a_point_that_was_renamed_keeps_its_history_under_its_name,
            twins::a_value_of_another_type_is_not_the_last_one,
            twins::a_box_that_has_its_name_again_has_its_twins_again,
            history::what_fits_is_raw_and_what_does_not_is_rolled_up,
            history::only_good_numbers_are_in_the_aggregates,
            history::a_reader_beside_accepting_and_compacting_sees_each_sample_once,
            history::holes_in_a_stream_and_what_gateways_told_are_gaps,
            history::gaps_of_a_part_are_those_of_the_whole,
            history::bad_samples_are_gaps_until_the_next_one,
            history::an_outage_that_was_told_once_is_a_gap_in_roll_ups_too,
            history::large_texts_are_kept_and_answers_of_them_are_bounded,
            clocks::samples_of_a_clock_that_was_never_set_find_their_time,
            clocks::what_never_finds_its_time_is_kept_from_its_arrival_on,
            retention::samples_beyond_their_time_go_and_their_roll_ups_stay,
            retention::each_class_of_points_has_its_own_time,
            sets::cells_are_what_a_list_of_all_samples_gives,
            sets::late_and_corrected_samples_merge_at_their_own_time,
            sets::no_cell_is_made_up_over_a_gap,
            sets::an_export_has_every_sample_once_in_pages,
            sets::what_is_deleted_is_in_no_sample_and_no_roll_up,
            sets::a_deletion_ends_although_its_point_keeps_sending_and_takes_what_was_there_before,
            sets::roll_ups_that_were_made_again_list_the_states_that_they_listed,
            waveforms::blocks_are_kept_once_and_go_when_they_are_deleted,
            waveforms::parts_of_two_blocks_are_never_one_block,
            times::time_divides_as_a_list_of_all_samples_says,
            times::nothing_holds_beyond_the_last_word_and_beyond_now,
            commands::a_key_makes_one_command_for_each_requester,
            commands::a_command_goes_forwards_only_and_late_results_are_kept,
            commands::pages_are_stable_under_inserts,
            commands::audit_is_filtered_by_twin_and_severity_and_the_future_does_not_stay_on_top,
            commands::a_desired_document_changes_under_its_version,
            alarms::the_last_word_on_an_alarm_is_kept_whatever_the_order,
            alarms::alarms_come_in_pages_and_of_the_twins_asked_for,
            alarms::nobody_speaks_under_the_identity_of_anothers_alarm,
            boxes::what_is_known_of_a_gateways_boxes_is_kept_with_its_audit,
            boxes::a_frame_set_aside_is_known_and_listed_once,
            boxes::frames_set_aside_are_bounded,
            boxes::a_frame_set_aside_leaves_a_gap,
            certificates::a_code_enrols_one_key_and_takes_the_secret_away,
            certificates::a_new_secret_takes_certificates_away,
            certificates::only_a_key_that_is_good_is_renewed,
            certificates::codes_that_expired_are_removed,
            configurations::documents_are_kept_under_rising_versions,
            configurations::old_documents_go_and_their_numbers_are_not_given_again,
            configurations::the_last_word_of_a_box_on_its_configuration_is_kept,
            updates::a_bundle_is_there_whole_or_not_at_all,
            updates::who_waits_for_a_change_of_updates_is_told_of_each,
            updates::groups_and_the_last_word_of_a_box_are_kept,
            updates::a_rollout_is_changed_by_who_read_it_last,
            accounts::sessions_live_until_their_end_and_with_their_account,
            accounts::keys_are_what_they_were_made_for,
            accounts::a_gateways_secret_is_replaced,
        }

        proptest::proptest! {
            #![proptest_config(proptest::test_runner::Config { cases: $lives, ..Default::default() })]

            #[test]
            fn storage_agrees_with_a_list_of_samples(life in $crate::contract::model::any_life()) {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on($crate::contract::model::live(&<$backend as Backend>::fresh(), life));
            }
        }
    };
}

/// One test for each item of the contract.
#[macro_export]
macro_rules! contract_tests {
    ($backend:ty: $($module:ident :: $name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                let backend = <$backend as $crate::contract::Backend>::fresh();
                $crate::contract::$module::$name(&backend).await;
            }
        )*
    };
}
