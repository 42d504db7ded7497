//! The whole of Levee in network namespaces: the real daemon and command line, the real program on a veth, real
//! packets.

use std::process::ExitCode;

mod asked;
mod bans;
mod clients;
mod counting;
mod crash;
mod detach;
mod explain;
mod field;
mod garbage;
mod generations;
mod gone;
mod guard;
mod import;
mod lifetime;
mod lost;
mod policy;
mod real;
mod refusals;
mod replay;
mod samples;
mod set_counters;
mod syn;
mod traffic;
mod unit;

fn main() -> ExitCode {
    harness::suite::run(harness::tests![
        counting::a_million_packets_are_counted_exactly_in_native_mode,
        counting::a_hundred_thousand_packets_are_counted_exactly_in_generic_mode,
        counting::the_json_of_stats_has_the_documented_shape_and_adds_up,
        counting::two_interfaces_share_the_tables_and_count_apart,
        lifetime::killing_the_controller_under_flood_lets_nothing_through_and_a_new_one_adopts,
        lifetime::stopping_the_controller_leaves_the_filter_and_its_socket_goes,
        lifetime::a_controller_whose_terminal_is_closed_stops_in_order,
        lifetime::a_hangup_without_a_terminal_changes_nothing,
        lifetime::what_a_dying_daemon_still_holds_is_waited_for,
        lifetime::a_socket_that_somebody_removed_is_made_again,
        lifetime::commands_right_after_a_kill_do_without_the_daemon,
        lifetime::after_a_reboot_the_daemon_attaches_again_and_fills_the_tables,
        policy::lockout::a_session_that_a_policy_cuts_off_is_back_when_nobody_confirms,
        policy::lockout::a_session_that_a_policy_cuts_off_is_back_also_when_the_daemon_is_killed,
        policy::lockout::a_confirmed_policy_stays_and_one_that_is_given_up_goes_at_once,
        policy::lockout::ssh_sessions_and_protected_prefixes_are_not_cut_off_unless_forced,
        policy::use_of::rules_count_and_keep_their_counters_from_one_policy_to_the_next,
        policy::use_of::a_set_that_rules_look_at_takes_effect_and_is_not_removed,
        policy::use_of::a_bad_policy_is_refused_with_its_place_and_changes_nothing,
        policy::use_of::twelve_policies_back_is_not_too_far,
        policy::use_of::check_and_diff_tell_what_a_policy_would_do_and_do_nothing,
        policy::use_of::the_policy_that_the_daemon_is_started_with_is_in_force,
        policy::crash::killing_the_daemon_at_any_step_of_a_policy_leaves_the_one_of_before_or_of_after,
        bans::bans_of_both_families_are_listed_with_their_end_and_lifted,
        bans::bans_that_are_over_are_not_listed_and_those_that_nobody_looks_at_are_told_so,
        samples::samples_are_shown_with_rule_length_and_first_bytes,
        samples::samples_are_written_to_a_file_until_it_is_interrupted,
        samples::without_rules_it_is_said_that_there_is_nothing_to_listen_to,
        explain::every_stage_that_can_decide_is_explained_and_nothing_is_moved,
        explain::limits_and_bans_are_those_of_now,
        explain::a_policy_can_be_tried_by_explaining_and_by_replaying_and_is_not_applied,
        explain::what_cannot_be_explained_is_refused_with_what_was_expected,
        explain::without_an_interface_the_lists_and_rules_are_explained_all_the_same,
        replay::captures_of_every_format_and_link_layer_are_replayed_alike,
        replay::limits_and_sums_go_by_the_capture,
        replay::what_a_capture_shows_to_be_asked_for_is,
        replay::what_did_not_pass_is_written_and_can_be_replayed_again,
        replay::broken_captures_are_refused_with_the_packet_and_its_place,
        replay::packets_that_were_captured_in_part_are_replayed_with_their_length,
        replay::standard_input_is_replayed_and_a_policy_is_tried,
        replay::twins_are_few_and_refuse_what_is_no_packet,
        replay::real_attacks_are_replayed_and_stopped_by_lists_of_their_sources,
        detach::detach_leaves_no_pin_no_program_and_no_object,
        detach::detach_all_works_through_the_daemon_and_takes_off_every_interface,
        detach::detach_all_works_without_a_daemon,
        asked::what_leaves_is_noted_while_a_policy_asks_and_whatever_happens_to_the_daemon,
        asked::a_policy_on_trial_has_what_leaves_noted_and_the_one_before_goes_on_with_its_notes,
        asked::answers_that_were_asked_for_pass_whole_and_others_are_dropped,
        asked::profiles_are_applied_and_cut_nobody_off,
        asked::a_policy_with_an_unknown_profile_is_refused,
        detach::what_was_detached_while_the_daemon_was_dead_stays_detached,
        detach::an_interface_that_went_away_does_not_keep_the_others_from_anything,
        detach::an_interface_that_moved_to_another_namespace_is_still_known,
        lost::a_link_that_somebody_detached_is_attached_again_soon,
        lost::an_interface_that_is_made_anew_is_filtered_at_once,
        lost::pins_that_somebody_removed_are_made_again_and_nothing_passes_meanwhile,
        lost::a_filter_that_cannot_be_pinned_again_goes_on_and_is_said_to,
        lost::an_interface_in_another_namespace_is_said_to_be_filtered_there,
        lost::an_adopted_interface_whose_link_is_detached_is_attached_again,
        lost::an_adopted_interface_that_is_made_anew_is_filtered,
        lost::a_snapshot_whose_log_was_lost_does_not_overrule_what_filters,
        lost::a_missing_pin_is_told_by_the_kernel_and_made_again_without_a_packet_passing,
        refusals::an_interface_with_another_program_is_refused_by_its_name_and_id,
        refusals::a_driver_without_native_mode_is_refused_with_a_hint,
        refusals::unknown_interfaces_are_refused,
        refusals::of_several_interfaces_all_are_attached_or_none,
        refusals::a_daemon_without_a_bpf_file_system_is_refused,
        refusals::who_is_not_root_is_told_so,
        refusals::a_dataplane_of_another_abi_version_is_refused_and_can_be_removed,
        refusals::a_second_daemon_is_refused_on_the_same_socket_state_and_pins,
        refusals::of_two_daemons_on_empty_pins_only_the_first_to_attach_gets_them,
        refusals::a_state_directory_that_others_may_write_to_is_refused,
        garbage::a_file_in_place_of_the_socket_is_left_alone,
        garbage::a_socket_of_something_else_is_recognised,
        garbage::bytes_that_are_no_http_are_refused_and_change_nothing,
        garbage::requests_that_cannot_be_meant_are_refused_and_change_nothing,
        garbage::clients_that_say_nothing_or_hang_up_block_nobody,
        import::duplicates_and_overlaps_are_fine_and_counted,
        import::every_way_to_write_a_list_is_understood,
        import::a_bad_line_is_named_by_place_and_nothing_changes,
        import::a_truncated_gzip_is_refused,
        import::bad_lines_can_be_skipped_and_are_reported,
        import::replace_makes_the_set_the_list,
        import::a_set_that_is_exported_can_be_checked_and_imported_again,
        import::a_dry_run_tells_what_the_import_makes_of_the_kernels_tables,
        import::a_dry_run_of_what_may_not_fit_promises_nothing,
        import::a_list_that_does_not_fit_is_refused,
        import::adopted_tables_that_take_more_than_they_may_are_warned_of,
        import::lists_without_end_are_refused_in_bounded_memory,
        import::a_file_of_ten_gigabytes_is_refused,
        crash::killing_the_daemon_in_an_import_leaves_the_old_list_or_the_new,
        crash::killing_the_daemon_in_a_change_in_place_leaves_the_entries_of_before_or_after_once_it_runs_again,
        generations::swaps_under_flood_let_nothing_through_and_hold_nothing_up,
        generations::a_controller_that_is_killed_in_swaps_leaves_one_list_in_force_everywhere,
        generations::tables_that_grow_under_flood_let_nothing_through_and_lose_nothing,
        generations::an_address_that_is_handed_from_prefix_to_prefix_is_never_let_through,
        gone::a_deleted_interface_keeps_no_other_from_a_bulk_change,
        gone::when_the_last_interface_is_deleted_changes_go_on_and_no_pin_stays,
        gone::interfaces_that_are_deleted_in_the_middle_of_a_swap_do_not_stop_it,
        guard::blocking_the_own_address_the_gateway_or_everything_is_refused_and_done_by_force,
        guard::a_list_that_holds_one_such_prefix_is_refused_whole,
        guard::whoever_has_an_ssh_session_is_not_cut_off,
        guard::an_ssh_daemon_is_found_on_any_port,
        guard::the_host_tells_its_addresses_and_gateways_of_every_kind,
        guard::the_session_that_a_process_comes_from_is_found_through_its_ancestors,
        guard::nobody_cuts_off_the_session_that_the_command_is_typed_in,
        set_counters::sets_count_exactly_by_interface_and_through_swaps,
        set_counters::a_source_in_two_sets_counts_for_the_lower_number_while_that_has_it,
        set_counters::a_set_that_takes_over_a_number_counts_from_zero,
        set_counters::what_removed_sets_dropped_is_kept_so_that_the_figures_add_up,
        set_counters::sets_taken_over_from_a_lost_state_count_from_zero,
        set_counters::sets_are_never_missing_and_never_count_down_while_lists_are_replaced,
        clients::parallel_clients_lose_no_change,
        clients::imports_adds_and_attachments_at_once_end_in_one_of_their_orders,
        syn::cookies_keep_connections_under_a_spoofed_flood,
        syn::challenges_keep_connections_under_a_spoofed_flood,
        traffic::tagged_frames_of_a_blocked_source_are_dropped_in_native_mode,
        traffic::tagged_frames_of_a_blocked_source_are_dropped_in_generic_mode,
        traffic::jumbo_datagrams_pass_whole_and_are_dropped_whole_in_native_mode,
        traffic::jumbo_datagrams_pass_whole_and_are_dropped_whole_in_generic_mode,
        traffic::a_tcp_transfer_with_offloads_passes_whole_in_native_mode,
        traffic::a_tcp_transfer_with_offloads_passes_whole_in_generic_mode,
        traffic::allowing_a_source_or_destination_saves_it_from_the_block_list,
        traffic::an_entry_passes_again_when_its_time_is_over,
        unit::the_capabilities_of_the_unit_are_enough_for_everything,
        unit::sessions_are_not_cut_off_under_the_unit_either,
        real::every_entry_of_the_real_lists_is_blocked,
        real::no_packet_of_a_spoofed_syn_flood_passes_in_native_mode,
        real::no_packet_of_an_snmp_amplification_passes_in_native_mode,
        real::no_packet_of_a_syn_ack_reflection_passes_in_native_mode,
        real::no_packet_of_a_fragmented_dns_amplification_passes_in_native_mode,
        real::no_packet_of_a_fragmented_dns_amplification_passes_in_generic_mode,
    ])
}
