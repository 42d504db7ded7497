//! Host and kernel side by side: the pipeline as `filter-common` runs it here and the program that runs in the
//! kernel, on the same frames, tables, policies and switches, must give the same verdict, the same reason and the same
//! counts.

use std::process::ExitCode;

mod both;
mod captures;
mod mutated;
mod policies;
mod rows;

fn main() -> ExitCode {
    harness::suite::run(harness::tests![
        rows::every_row_of_the_contract_ends_the_same,
        mutated::mutated_frames_end_the_same_under_random_tables,
        mutated::mutated_frames_end_the_same_wherever_the_first_buffer_ends,
        policies::policies_of_few_rules_end_frames_as_a_plain_reading_says,
        policies::policies_of_many_rules_end_frames_as_a_plain_reading_says,
        policies::policies_that_count_drop_and_pass_end_frames_as_a_plain_reading_says,
        captures::a_spoofed_syn_flood_ends_the_same_and_none_of_it_passes_when_blocked,
        captures::an_snmp_amplification_ends_the_same_and_none_of_it_passes_when_blocked,
        captures::a_syn_ack_reflection_ends_the_same_and_none_of_it_passes_when_blocked,
        captures::a_fragmented_dns_amplification_ends_the_same_and_none_of_it_passes_when_blocked,
    ])
}
