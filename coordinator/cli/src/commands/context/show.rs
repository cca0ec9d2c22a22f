//! `drydock context show [NAME]`

use clap::Args;

use super::Ask;
use crate::{
    contexts::{ContextView, Contexts},
    error::{CliError, Exit},
    render::{Canvas, Line, Page, Paint},
};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A name of `drydock context list`; the one in use when left out
    name: Option<String>,
}

pub(super) fn run(args: &ShowArgs, ask: &Ask) -> Result<Exit, CliError> {
    let name = args.name.as_deref().or(ask.global.context.as_deref());
    let view = Contexts::of(&ask.global)?.pick(name)?.view();
    ask.screen.show(&view, page)?;
    Ok(Exit::Done)
}

fn page(view: &ContextView, canvas: Canvas) -> Page {
    let mut page = Page::default();
    page.line(Line::of("Context ").plus(&view.name, Paint::Bold));
    page.gap();
    let mut fields = vec![
        ("Coordinator", view.coordinator.clone()),
        ("Fleet", view.fleet.clone()),
        ("You are", view.operator.clone()),
    ];
    if let Some(problem) = &view.problem {
        fields.push(("Problem", problem.clone()));
    }
    page.fields(&fields, canvas);
    page
}
