//! Three hypervisors, set up, with everything on them that is looked at from outside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::root;
use crate::cache::Cache;
use crate::exec::{self, Cmd};
use crate::lab::{Lab, LabOptions};
use crate::node::Node;
use crate::wait::until;
use crate::{Error, Result, apt, net};

const OPENVSWITCH: &str = include_str!("../scripts/hypervisor/openvswitch.sh");
const OVN_CENTRAL: &str = include_str!("../scripts/hypervisor/ovn-central.sh");
const OVN_HOST: &str = include_str!("../scripts/hypervisor/ovn-host.sh");
const LIBVIRT: &str = include_str!("../scripts/hypervisor/libvirt.sh");
const MANAGEMENT: &str = include_str!("../scripts/hypervisor/management.sh");
/// A guest's kernel is interpreted instruction by instruction, three of them on two cores.
const GUESTS_UP: Duration = Duration::from_secs(240);
const SETTING_UP: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_secs(10);

/// The nodes of a lab as hypervisors. Nodes keep what they are over a reboot, but for cables and namespaces.
#[derive(Debug)]
pub struct Hypervisors<'lab> {
    lab: &'lab Lab,
    root: PathBuf,
}

/// Somebody on a hypervisor who answers from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The guest of a node.
    Guest(usize),
    /// A network namespace behind `br0` of a node.
    Plain(usize),
    /// A network namespace behind a logical port of OVN on a node.
    Logical(usize),
    /// A node itself, at the address by which it is reached.
    Host(usize),
}

impl Target {
    /// What figures call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Guest(node) => format!("guest{node}"),
            Self::Plain(node) => format!("plain{node}"),
            Self::Logical(node) => format!("logical{node}"),
            Self::Host(node) => format!("n{node}"),
        }
    }

    /// Its address on the lab's network.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Guest(node) => format!("10.99.0.{}", 100 + node),
            Self::Plain(node) => format!("10.99.0.{}", 110 + node),
            Self::Logical(node) => format!("10.99.0.{}", 120 + node),
            Self::Host(node) => net::node_address(*node),
        }
    }

    /// All three that a node has.
    #[must_use]
    pub fn of(node: usize) -> [Self; 3] {
        [Self::Guest(node), Self::Plain(node), Self::Logical(node)]
    }
}

/// A lab whose nodes have what a hypervisor has; nothing of it is configured.
///
/// # Errors
/// When the root cannot be built or a node does not come up.
pub fn boot(nodes: usize, detached: bool) -> Result<Lab> {
    apt::prepare_host()?;
    let root = root::get(&Cache::open()?)?;
    Lab::up(nodes, LabOptions { root: Some(root), detached, ..LabOptions::default() })
}

impl<'lab> Hypervisors<'lab> {
    /// Sets up every node and waits until everybody answers from outside.
    ///
    /// # Errors
    /// When something does not start, or somebody does not answer in time.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let site = Self::of(lab)?;
        site.chroot_in_netns(&["ethtool", "-K", net::BRIDGE, "tx", "off"])?;
        for (number, node) in site.nodes() {
            site.plug(number, node)?;
            site.script(node, OPENVSWITCH, number)?;
            let xml = guest(number);
            node.write_file("/etc/drydock-lab/guest.xml", xml.as_bytes(), 0o644)?;
            site.script(node, LIBVIRT, number)?;
        }
        site.script(lab.node(1), OVN_CENTRAL, lab.nodes().len())?;
        for (number, node) in site.nodes() {
            site.script(node, OVN_HOST, number)?;
        }
        site.wait_until_all_answer()?;
        Ok(site)
    }

    /// The hypervisors that already run in a lab.
    ///
    /// # Errors
    /// When the root is not there any more.
    pub fn of(lab: &'lab Lab) -> Result<Self> {
        Ok(Self { lab, root: root::get(&Cache::open()?)? })
    }

    /// Moves the address by which a node is reached onto a bridge of Open vSwitch.
    ///
    /// # Errors
    /// When nobody answers over it.
    pub fn move_management(&self, number: usize) -> Result<()> {
        self.script(self.lab.node(number), MANAGEMENT, number).map(drop)
    }

    /// The lab they are in.
    #[must_use]
    pub fn lab(&self) -> &'lab Lab {
        self.lab
    }

    /// Every node with its number.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &'lab Node)> + use<'lab> {
        (1..).zip(self.lab.nodes())
    }

    /// Everybody who answers.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        self.nodes().flat_map(|(number, _)| Target::of(number)).collect()
    }

    /// What a guest says over HTTP about its boot, asked from outside.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn guest_boot(&self, number: usize) -> Result<String> {
        self.chroot_in_netns(&ask_boot(number).each_ref().map(String::as_str))
    }

    /// The same asked from another node.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn guest_boot_seen_by(&self, node: &Node, number: usize) -> Result<String> {
        node.run(&ask_boot(number))
    }

    /// The root of the nodes, as it was before any of them booted.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A program of the nodes' root, in the lab's network on the host's side.
    pub(super) fn outside(&self, words: &[&str]) -> Command {
        let mut command = exec::command("chroot");
        command.arg(&self.root).args(words);
        command
    }

    fn chroot_in_netns(&self, words: &[&str]) -> Result<String> {
        let output = self.lab.run_in_netns(&self.outside(words), SHORT)?;
        exec::succeed("running a command outside the nodes", &words.join(" "), &output)?;
        Ok(output.text())
    }

    /// Runs a script in a node; its one argument is a number.
    fn script(&self, node: &Node, script: &str, argument: usize) -> Result<String> {
        let words = ["sh", "-c", script, "sh", &argument.to_string()];
        let output = node.exec_within(SETTING_UP, &words)?;
        let about = script.lines().next().unwrap_or_default();
        exec::succeed(&node.purpose("setting up a hypervisor"), about, &output)?;
        Ok(output.text())
    }

    /// A second cable from a node to the lab's bridge: the uplink of its `br0`.
    fn plug(&self, number: usize, node: &Node) -> Result<()> {
        let init = node.init_pid().ok_or_else(|| node.no_init())?.to_string();
        let (namespace, port) = (net::namespace(self.lab.id()), format!("vu-n{number}"));
        let add = ["link", "add", &port, "type", "veth", "peer", "name", "uplink", "netns", &init];
        let join = ["link", "set", &port, "master", net::BRIDGE, "up"];
        for words in [add.as_slice(), join.as_slice()] {
            Cmd::new(node.purpose("plugging in the uplink"), "ip")
                .args(["-n", &namespace])
                .args(words)
                .run()?;
        }
        Ok(())
    }

    fn wait_until_all_answer(&self) -> Result<()> {
        for target in self.targets() {
            let mut said = String::new();
            let asked = || match &target {
                Target::Guest(number) => self.guest_boot(*number),
                other => self.chroot_in_netns(&["ping", "-n", "-c", "1", "-W", "1", &other.address()]),
            };
            until(
                &format!("{} to answer at {}", target.name(), target.address()),
                GUESTS_UP,
                Duration::from_millis(200),
                || {
                    Ok(match asked() {
                        Ok(_) => Some(()),
                        Err(error) => {
                            said = error.to_string();
                            None
                        }
                    })
                },
                || self.console_of(&target),
            )
            .map_err(|error| Error::Unfit(format!("{error}; last: {said}")))?;
        }
        Ok(())
    }

    fn console_of(&self, target: &Target) -> String {
        let Target::Guest(number) = target else { return "no answer".to_owned() };
        let console = self.lab.node(*number).read_file("/var/log/libvirt/guest.console").unwrap_or_default();
        format!("its console ends with{}", exec::last_lines(&console))
    }
}

/// Asks a guest over HTTP for its boot. By bash, because the static busybox dies of its own wget.
fn ask_boot(number: usize) -> [String; 5] {
    let script = format!(
        "exec 3<>/dev/tcp/{}/80 && printf 'GET /boot HTTP/1.0\\r\\n\\r\\n' >&3 && tail -n 1 <&3 | grep -x '[0-9a-f-]*'",
        Target::Guest(number).address()
    );
    ["timeout".to_owned(), "3".to_owned(), "bash".to_owned(), "-c".to_owned(), script]
}

/// A guest with a kernel and no disk, interpreted by QEMU: `/dev/kvm` being there proves nothing.
fn guest(number: usize) -> String {
    format!(
        "<domain type='qemu'>
  <name>guest{number}</name>
  <uuid>67756573-0000-4000-8000-00000000000{number}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{guest}/vmlinuz</kernel>
    <initrd>{guest}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=1 drydock.address={address}/24</cmdline>
  </os>
  <features><acpi/></features>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='/var/log/libvirt/guest.console'/></serial>
    <interface type='bridge'>
      <source bridge='br0'/>
      <virtualport type='openvswitch'/>
      <mac address='52:54:00:98:00:0{number}'/>
      <model type='virtio'/>
      <driver><host csum='off' gso='off' tso4='off' tso6='off' ufo='off'/><guest csum='off' tso4='off' tso6='off' ufo='off'/></driver>
    </interface>
    <memballoon model='none'/>
  </devices>
</domain>
",
        guest = root::GUEST,
        address = Target::Guest(number).address(),
    )
}
