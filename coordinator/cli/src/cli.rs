//! The command line: what may be typed. What is done about it stands in `commands/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Drydock upgrades fleets one node at a time.
#[derive(Debug, Parser)]
#[command(name = "drydock", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed or unreachable, 2 usage or bad file, 3 held, blockers or findings: a person must act.
Data goes to stdout, everything else to stderr.";

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How data is printed
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,
    /// Which coordinator: a name of `drydock context list`
    #[arg(long, global = true, env = "DRYDOCK_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Where contexts are [default: $XDG_CONFIG_HOME/drydock, then /etc/drydock for root]
    #[arg(long, global = true, env = "DRYDOCK_CONFIG_DIR", value_name = "DIR")]
    pub(crate) config_dir: Option<PathBuf>,
    /// When colours are used; NO_COLOR counts too
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    #[default]
    Text,
    /// For programs: one document, or one a line where several follow each other
    Json,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a plan against the fleet and show everything that would happen; nothing is changed
    Plan(commands::plan::PlanArgs),
    /// Take every check on every node of a plan; nothing is changed
    Rehearse(commands::rehearse::RehearseArgs),
    /// Carry plans out, and follow them
    #[command(subcommand)]
    Run(commands::run::RunCommand),
    /// What a run waits for, since when, and what you can do
    Why(commands::why::WhyArgs),
    /// The machines of the fleet
    #[command(subcommand)]
    Node(commands::node::NodeCommand),
    /// Let nobody leave service any more; what is at work is brought to its end
    Freeze(commands::freeze::FreezeArgs),
    /// Let nodes leave service again
    Thaw,
    /// Kubernetes clusters that nodes of the fleet belong to
    #[command(subcommand)]
    Cluster(commands::cluster::ClusterCommand),
    /// Look at something as the checks of a run do; nothing is changed
    #[command(subcommand)]
    Check(commands::check::CheckCommand),
    /// What Drydock has marked in a Kubernetes cluster, and taking it back where there is no coordinator
    #[command(subcommand)]
    Marks(commands::marks::MarksCommand),
    /// One-time tokens with which nodes join
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// Signed binaries
    #[command(subcommand)]
    Artifact(commands::artifact::ArtifactCommand),
    /// How components are upgraded
    #[command(subcommand)]
    Recipe(commands::recipe::RecipeCommand),
    /// Is the record what was written? Who signed it, and who holds it?
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Which coordinator is spoken to
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    /// Show what agents say of another coordinator that they obey, and take its place
    Takeover(commands::takeover::TakeOverArgs),
    /// Run the coordinator
    Serve(commands::serve::ServeArgs),
    /// Show the whole thing on this machine, with nothing installed
    Demo(commands::demo::DemoArgs),
    /// The demo's own service
    #[command(hide = true)]
    DemoService(commands::demo::service::ServiceArgs),
    /// Print completions for a shell
    Completions(commands::completions::CompletionsArgs),
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
