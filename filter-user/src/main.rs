//! The `levee` command.

fn main() -> std::process::ExitCode {
    filter_user::cli::main()
}
