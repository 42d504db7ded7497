//! The real program in the real kernel: verdict, reason and counters of single frames, the live tables, and what
//! the dataplane does and refuses to do.

use std::process::ExitCode;

mod adoption;
mod contract;
mod jumbo;
mod prefixes;
mod refusals;
mod rules;
mod swaps;
mod tables;
mod traffic;

fn main() -> ExitCode {
    harness::suite::run(harness::tests![
        contract::every_row_ends_with_its_reason,
        contract::a_blocked_source_is_dropped_in_every_shape,
        contract::an_allowed_source_is_saved_from_all_but_malformed,
        contract::an_allowed_destination_is_saved_from_all_but_malformed,
        contract::checks_that_are_off_drop_nothing,
        contract::later_fragments_are_dropped_where_the_policy_says_so,
        contract::frames_of_every_size_are_counted_to_the_byte,
        jumbo::every_row_ends_the_same_wherever_the_first_buffer_ends,
        jumbo::a_blocked_source_is_dropped_wherever_the_first_buffer_ends,
        jumbo::a_jumbo_frame_is_counted_whole,
        prefixes::blocked_prefixes_of_every_length_hold_exactly_their_addresses,
        prefixes::allowed_source_prefixes_of_every_length_hold_exactly_their_addresses,
        prefixes::allowed_destination_prefixes_of_every_length_hold_exactly_their_addresses,
        prefixes::nested_prefixes_come_and_go_without_disturbing_each_other,
        rules::a_rule_drops_what_it_matches_and_counts_it,
        tables::full_tables_refuse_aloud_and_larger_ones_take_their_place,
        tables::a_replacement_that_is_put_back_leaves_everything_as_it_was,
        tables::more_memory_than_allowed_is_refused_before_any_is_taken,
        tables::a_plan_is_what_the_kernel_takes,
        tables::tables_answer_what_was_put_into_them,
        tables::what_rests_is_given_back_without_holding_the_tables,
        swaps::a_swap_that_one_interface_refuses_is_taken_back_on_the_others,
        swaps::a_swap_that_cannot_be_taken_back_either_is_told_and_repaired,
        swaps::a_swap_between_interfaces_on_different_generations_is_taken_back_to_each_its_own,
        swaps::a_replacement_that_cannot_be_put_back_everywhere_is_repaired,
        swaps::an_interface_that_is_gone_is_no_hindrance_to_putting_back,
        adoption::the_filter_outlives_its_controller_and_is_adopted_with_its_counters,
        adoption::detach_leaves_no_pin_and_no_program,
        adoption::what_a_crashed_attach_left_is_cleaned_up,
        adoption::interfaces_that_a_killed_swap_left_apart_are_brought_to_one_generation,
        adoption::a_swap_that_was_killed_before_its_last_note_is_adopted,
        adoption::what_interfaces_on_two_generations_filter_by_is_found,
        refusals::unknown_interfaces_and_loopback_are_refused,
        refusals::interfaces_without_ethernet_are_refused,
        refusals::an_interface_with_another_program_is_refused_by_its_name_and_id,
        refusals::a_driver_without_native_mode_is_refused_and_nothing_stays,
        refusals::an_attached_interface_is_not_attached_otherwise,
        refusals::another_abi_version_is_refused,
        refusals::pins_that_nothing_vouches_for_and_another_program_are_refused_and_left_as_they_are,
        refusals::a_directory_of_someone_else_is_refused,
        refusals::a_directory_that_is_not_on_bpffs_is_refused,
        refusals::a_second_controller_is_refused,
        traffic::every_row_counts_the_same_as_native_traffic,
        traffic::every_row_counts_the_same_as_generic_traffic,
        traffic::a_blocked_source_is_dropped_in_every_shape_of_native_traffic,
        traffic::a_blocked_source_is_dropped_in_every_shape_of_generic_traffic,
    ])
}
