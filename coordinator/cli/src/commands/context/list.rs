//! `drydock context list`

use super::Ask;
use crate::{
    contexts::{ContextView, Contexts},
    error::{CliError, Exit},
    render::{Canvas, Line, Page, Paint},
};

pub(super) fn run(ask: &Ask) -> Result<Exit, CliError> {
    let contexts = Contexts::of(&ask.global)?.list()?;
    ask.screen.show(&contexts, |contexts, canvas| page(contexts, canvas))?;
    Ok(Exit::Done)
}

fn page(contexts: &[ContextView], canvas: Canvas) -> Page {
    let mut page = Page::default();
    if contexts.is_empty() {
        page.line(Line::of("There is no context: no coordinator is known here."));
        page.line(
            Line::of("On the coordinator's machine root has one:  ")
                .plus("sudo drydock context list", Paint::Bold),
        );
        return page;
    }
    let head = ["", "context", "coordinator", "you are", ""].map(|name| Line::painted(name, Paint::Dim));
    let mut rows = vec![head.into()];
    rows.extend(contexts.iter().map(|context| {
        vec![
            Line::painted(if context.current { "▸" } else { " " }, Paint::Good),
            Line::painted(&context.name, Paint::Bold),
            Line::of(&context.coordinator),
            Line::of(&context.operator),
            Line::painted(context.problem.clone().unwrap_or_default(), Paint::Bad),
        ]
    }));
    page.table(0, rows, canvas);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::FILE;

    #[test]
    fn contexts_are_listed_with_the_one_in_use_and_what_is_wrong() {
        let context = |name: &str, current, problem: Option<&str>| ContextView {
            name: name.into(),
            current,
            coordinator: "10.0.0.1:7440".into(),
            fleet: "05".repeat(16),
            operator: "alice".into(),
            directory: "/home/alice/.config/drydock".into(),
            problem: problem.map(String::from),
        };
        let list = [context("lab", false, Some("certificate has expired")), context("prod", true, None)];
        let want = "    context   coordinator     you are
    lab       10.0.0.1:7440   alice     certificate has expired
▸   prod      10.0.0.1:7440   alice
";
        assert_eq!(page(&list, FILE).to_text(FILE), want);
        assert!(page(&[], FILE).to_text(FILE).starts_with("There is no context"));
    }
}
