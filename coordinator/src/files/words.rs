//! The words for what serde calls by Rust's names, and the nearest word to a misspelt one.

/// What a struct is called in a message: `a wave`.
pub(super) fn of_struct(name: &str) -> String {
    let word = match name {
        "PlanFile" => "a plan",
        "PlanMetadata" => "the plan's metadata",
        "PlanSpec" => "the plan's spec",
        "BudgetSpec" => "the budget",
        "StageSpec" => "a stage",
        "ArtifactSpec" => "an artifact",
        "WaveSpec" => "a wave",
        "Selector" => "a wave's nodes",
        "WindowSpec" => "the window",
        "ApprovalSpec" => "an approval",
        "Recipe" => "a recipe",
        "RecipeMetadata" => "the recipe's metadata",
        "RecipeSpec" => "the recipe's spec",
        "Detect" => "the recipe's detect",
        "VersionRules" => "the recipe's versions",
        "Deadlines" => "the recipe's deadlines",
        "Declared" => "a parameter",
        other => return format!("`{other}`"),
    };
    word.to_owned()
}

/// What an enum's values are called, one and several.
pub(super) fn of_enum(name: &str) -> (&'static str, &'static str) {
    match name {
        "ApiVersion" => ("apiVersion", "this build takes"),
        "PlanKind" => ("kind", "a plan has kind"),
        "RecipeKind" => ("kind", "a recipe has kind"),
        "OnFailure" => ("onFailure", "onFailure is one of"),
        "Order" => ("order", "order is one of"),
        "Day" => ("day", "days are"),
        "Allow" => ("amendment", "amendments that a plan can allow are"),
        "ApprovalBy" => ("approver", "approvers are"),
        "Step" => ("step", "steps are"),
        "Check" => ("check", "checks are"),
        "VersionSource" => ("version source", "version sources are"),
        "HealthProbe" => ("health probe", "health probes are"),
        "Quiescence" => ("quiescence", "quiescence is one of"),
        "OvnOrder" => ("order", "the order is one of"),
        "FlowsMust" => ("flows", "flows must be one of"),
        "ReachTarget" => ("target", "targets are"),
        "UndoGuard" => ("undo guard", "undo guards are"),
        _ => ("word", "it is one of"),
    }
}

/// What a text in this place is, where saying so helps more than "a text".
pub(super) enum Meaning {
    Version,
    Duration,
    Text,
}

/// The types of the tree do not say what a text will be read as; the keys of the format do.
pub(super) fn meaning(owner: &str, key: &str) -> Meaning {
    match (owner, key) {
        ("StageSpec", "to") => Meaning::Version,
        ("Deadlines" | "outage", _) | (_, "soak" | "within" | "maxAge") => Meaning::Duration,
        _ => Meaning::Text,
    }
}

/// The candidate that a text was most likely meant to be.
pub(super) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing that long is a slip of the fingers, and the distance costs the product of the lengths.
    if text.len() > 64 {
        return None;
    }
    let folded = fold(text);
    let most = (folded.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?` for the nearest candidate.
pub(super) fn suggestion<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(text, candidates).map(|word| format!("did you mean `{word}`?"))
}

/// `on_failure`, `on-failure` and `OnFailure` all mean `onFailure`.
fn fold(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let keys = ["name", "nodes", "order", "concurrency", "soak"];
        assert_eq!(nearest("nodez", keys), Some("nodes"));
        assert_eq!(nearest("Nodes", keys), Some("nodes"));
        assert_eq!(nearest("concurency", keys), Some("concurrency"));
        assert_eq!(nearest("gates", keys), None);
        assert_eq!(nearest("window", keys), None);
        assert_eq!(nearest("on_failure", ["onFailure"]), Some("onFailure"));
        assert_eq!(nearest(&"x".repeat(1000), keys), None);
    }
}
