//! `run force`: who is left on a node, and what deleting them means.

use drydock_coordinator::moves::left::{DrainLeftView, LeftPod};

use super::{Canvas, Line, Page, Paint, time};

/// Before it is decided.
pub(crate) fn before(view: &DrainLeftView, grace: Option<u32>, canvas: Canvas) -> Page {
    let mut page = Page::default();
    if view.pods.is_empty() {
        page.line(Line::of(format!(
            "No pod has to leave {} any more: there is nothing to force.",
            view.node
        )));
        page.line(Line::of("Next:  ").plus(format!("drydock run resume {}", view.number), Paint::Bold));
        return page;
    }
    let pods = time::count(view.pods.len(), "pod", "pods");
    page.line(Line::painted(
        format!("{pods} of {} would be deleted where they cannot be evicted:", view.node),
        Paint::Bad,
    ));
    for left in &view.pods {
        one(left, grace, &mut page, canvas);
    }
    page
}

fn one(left: &LeftPod, grace: Option<u32>, page: &mut Page, canvas: Canvas) {
    let pod = &left.pod;
    let grace = match grace {
        Some(0) => "   its processes are not waited for".to_owned(),
        Some(s) => format!("   {s} s of grace"),
        None => format!("   {} s of grace", left.grace_s),
    };
    page.line(Line::of(format!("  {}/{}", pod.namespace, pod.name)).plus(grace, Paint::Dim));
    let mut fields = Vec::new();
    if let Some(budget) = &pod.budget {
        fields.push(("  Passes over", format!("PodDisruptionBudget {budget}")));
    }
    if let Some(since) = &left.ends_since {
        fields.push(("  Ends since", since.clone()));
    }
    fields.extend(left.because.iter().map(|why| ("  Because", why.clone())));
    fields.push(("  UID", pod.uid.clone()));
    page.fields(&fields, canvas);
}

#[cfg(test)]
mod tests {
    use drydock_core::moves::ForcedPod;
    use drydock_types::NodeName;

    use super::*;

    #[test]
    fn each_pod_is_named_with_its_budget_its_grace_and_what_is_lost() {
        let budget = Some("shop/cart".to_owned());
        let left = LeftPod {
            pod: ForcedPod { namespace: "shop".into(), name: "cart-0".into(), uid: "u-1".into(), budget },
            because: vec!["the PodDisruptionBudget shop/cart allows 0 more now".to_owned()],
            grace_s: 45,
            ends_since: None,
        };
        let mut view = DrainLeftView { number: 4, node: NodeName::parse("n1").unwrap(), pods: vec![left] };
        let canvas = Canvas { width: None, color: false };
        let text = before(&view, None, canvas).to_text(canvas);
        for word in [
            "1 pod of n1 would be deleted",
            "shop/cart-0",
            "45 s of grace",
            "PodDisruptionBudget shop/cart",
            "u-1",
        ] {
            assert!(text.contains(word), "{word}\n{text}");
        }
        let text = before(&view, Some(0), canvas).to_text(canvas);
        assert!(text.contains("its processes are not waited for"), "{text}");
        view.pods.clear();
        let text = before(&view, None, canvas).to_text(canvas);
        assert!(
            text.contains("there is nothing to force") && text.contains("drydock run resume 4"),
            "{text}"
        );
    }
}
