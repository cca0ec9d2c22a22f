//! Every block of YAML that the guide shows compiles, put where it belongs. (The K3s guide's have a test beside its recipes.)

use drydock_core::recipe::{Check, PackagesCheck};
use drydock_types::{ComponentName, Step, Version, section::ArtifactLabel};

use crate::desk::{BINARY, Desk, PLAN, edit, label, minisig};

const PAGES: [(&str, &str); 12] = [
    ("README.md", include_str!("../../../README.md")),
    ("commit-confirmed.md", include_str!("../../../docs/guide/commit-confirmed.md")),
    ("hypervisor.md", include_str!("../../../docs/guide/hypervisor.md")),
    ("kubernetes.md", include_str!("../../../docs/guide/kubernetes.md")),
    ("night.md", include_str!("../../../docs/guide/night.md")),
    ("openvswitch.md", include_str!("../../../docs/guide/openvswitch.md")),
    ("ovn.md", include_str!("../../../docs/guide/ovn.md")),
    ("packages.md", include_str!("../../../docs/guide/packages.md")),
    ("patch-hypervisors.md", include_str!("../../../docs/guide/patch-hypervisors.md")),
    ("plans.md", include_str!("../../../docs/guide/plans.md")),
    ("reach.md", include_str!("../../../docs/guide/reach.md")),
    ("recipes.md", include_str!("../../../docs/guide/recipes.md")),
];

const HEAD: &str = "apiVersion: drydock/v1\nkind: Plan\nmetadata: {name: x}\n";
const WAVES: &str = "      waves: [{name: all, nodes: {names: [n1]}}]\n";

fn indented(block: &str, by: usize) -> String {
    block.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

fn stage(component: &str, keys: &str) -> String {
    format!("{HEAD}spec:\n  stages:\n    - name: x\n      component: {component}\n{keys}{WAVES}")
}

/// The artifact that a plan names lies beside it, signed for what it is.
fn desk(component: &str, file: &str, version: &str) -> Desk {
    let desk = Desk::new();
    let label = ArtifactLabel {
        component: ComponentName::parse(component).unwrap(),
        version: Version::parse(version).unwrap(),
        ..label()
    };
    desk.write(file, BINARY);
    desk.write(&format!("{file}.minisig"), minisig(&label.to_comment()));
    desk
}

/// A recipe of one's own with this in its `spec:`, used by a plan.
fn recipe(spec: &str) -> Result<(), String> {
    let desk = Desk::new();
    let head = "apiVersion: drydock/v1\nkind: Recipe\nmetadata: {name: mine, summary: x}\n";
    desk.write("mine.yaml", format!("{head}{spec}  detect: {{}}\n  apply: [nothing]\n"));
    let plan = edit("recipe: etcd", "recipe: ./mine.yaml").replace("      artifact: {path: ./etcd}\n", "");
    desk.compile(plan).map(drop)
}

/// `false`: it is no file of ours, or another test's.
fn compiles(block: &str) -> Result<bool, String> {
    let own = |plan: String| Desk::new().compile(plan).map(drop);
    let without_comment = block.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    match without_comment.trim_end() {
        _ if block.contains("kind: Recipe") => return Ok(false),
        "env:" => return Ok(false),
        _ if block.contains("component: drydock-agent") => {
            desk("drydock-agent", "drydock-agent", "0.2.0").compile(block).map(drop)
        }
        "apiVersion: drydock/v1" => own(block.to_owned()),
        first @ ("recipe: openvswitch" | "recipe: packages") => {
            let component = first.trim_start_matches("recipe: ");
            own(stage(
                component,
                &format!(
                    "      to: \"1.0\"
{}",
                    indented(block, 6)
                ),
            ))
        }
        "stages:" => {
            let left_out = "      to: \"1.0\"\n      with: {witness: [\"10.0.0.1:22\"]}\n";
            own(format!("{HEAD}spec:\n{}{WAVES}", indented(block, 2).replace("      # …\n", left_out)))
        }
        "spec:" if block.contains("k3s-agent") => {
            desk("k3s", "k3s", "v1.33.5+k3s1").compile(format!("{HEAD}{block}")).map(drop)
        }
        "spec:" if block.contains("  stages:") => {
            let left_out =
                "component: etcd\n      recipe: etcd\n      to: \"3.5.16\"\n      artifact: {path: ./etcd}\n";
            own(format!("{HEAD}{block}").replace("# component, recipe, to, artifact\n", left_out))
        }
        "spec:" if block.contains("  window:") => own(PLAN.replace("spec:\n", block)),
        "spec:" => recipe(block),
        "          soak: 10m" => own(edit("          soak: 10s\n", block)),
        "- kubernetesCondition:" => {
            let gate = format!("      recipe: nothing\n      to: \"1\"\n      gate:\n{}", indented(block, 8));
            own(stage("x", &gate))
        }
        // The recipe beside it has a test of both.
        "      recipe: systemd-binary" => own(edit("      recipe: etcd\n", block)),
        _ => Err("nobody knows where it belongs".to_owned()),
    }
    .map(|()| true)
}

#[test]
fn every_block_of_yaml_in_the_guide_compiles() {
    let mut compiled = 0;
    for (page, text) in PAGES {
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            match compiles(block) {
                Ok(true) => compiled += 1,
                Ok(false) => {}
                Err(why) => panic!("{page}: {why}\n{block}"),
            }
        }
    }
    assert!(compiled >= 16, "{compiled}");
}

/// What a refusal on a node tells to write in the plan (`along:`, `remove:`, `held:`, `repair:`) each recipe that changes packages
/// must take, and all of its steps alike.
#[test]
fn every_recipe_of_packages_takes_what_its_refusals_tell_to_write() {
    let words = "along: [libnew1], remove: [libold1], release: [{suite: stable, sha256: \"{D}\"}], held: true, repair: true, \
                 oldVersions: ifThere"
        .replace("{D}", &"ab".repeat(32));
    for (recipe, own) in [
        ("packages", "packages: [{name: openssl}]"),
        ("libvirt", "quiescence: drained"),
        ("openvswitch", "witness: [\"10.0.0.1:22\"]"),
        ("ovn-controller", "within: 2m"),
    ] {
        let with = format!("recipe: {recipe}\n      with: {{{own}, {words}}}");
        let plan = edit("recipe: etcd", &with).replace("      artifact: {path: ./etcd}\n", "");
        let component = if recipe == "packages" { "etcd" } else { recipe };
        let plan = plan.replace("component: etcd", &format!("component: {component}"));
        let (bundle, _) = Desk::new().compile(plan).unwrap();
        let spec = &bundle.stages[0].recipe.spec;
        let of = |steps: &[Step]| {
            let packages = |step: &Step| match step {
                Step::StagePackages(it) | Step::InstallPackages(it) => Some(it.clone()),
                _ => None,
            };
            steps.iter().find_map(packages).unwrap()
        };
        let (staged, installed) = (of(&spec.stage), of(&spec.apply));
        assert_eq!(staged, installed, "{recipe}");
        assert!(staged.held && staged.repair && !staged.old_versions.is_required(), "{recipe}");
        assert_eq!((staged.along.len(), staged.remove.len(), staged.release.len()), (1, 1, 1), "{recipe}");
        assert!(spec.gate.contains(&Check::Packages(PackagesCheck { repair: true })), "{recipe}");
    }
}
