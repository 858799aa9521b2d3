//! End-to-end tests: the real binary, real clients, a real registry. One program, so that it links once.

mod chart_cluster;
mod chart_render;
mod e2e_agent;
mod e2e_backup;
mod e2e_bad_input;
mod e2e_cli;
mod e2e_disk_full;
mod e2e_durability;
mod e2e_faults;
mod e2e_filters;
mod e2e_first_steps;
mod e2e_formats;
mod e2e_git;
mod e2e_kubectl;
mod e2e_limits;
mod e2e_notify;
mod e2e_notify_faults;
mod e2e_notify_receivers;
mod e2e_notify_tls;
mod e2e_octokit;
mod e2e_parts;
mod e2e_pods;
mod e2e_registry;
mod e2e_subscriber;
mod e2e_transcripts;
mod e2e_triggers;
