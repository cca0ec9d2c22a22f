//! Asking API servers from inside of the lab's network: threads of this process that have entered it.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drydock_test_cluster::Admin;
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::Lab;

const THREADS: usize = 2;
/// Of anything that a healthy cluster does by itself.
pub(super) const SOON: Duration = Duration::from_secs(90);

/// The way in.
pub(super) struct Network {
    runtime: Runtime,
}

impl Network {
    /// Threads that have entered the lab's network.
    pub(super) fn enter(lab: &Lab) -> Result<Self> {
        let file = lab.namespace_file();
        let namespace = File::open(&file).with_context(|| format!("open {}", file.display()))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .on_thread_start(move || {
                // A thread that stays outside reaches nobody, and whatever it asks says so.
                if let Err(errno) = setns(&namespace, CloneFlags::CLONE_NEWNET) {
                    eprintln!("a thread cannot enter the lab's network: {errno}");
                }
            })
            .build()
            .context("threads in the lab's network")?;
        Ok(Self { runtime })
    }

    /// Does something in there and waits for it. Not on this thread, which is outside.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let handle = self.runtime.spawn(what);
        self.runtime.block_on(handle).context("a task in the lab's network")?
    }

    /// Does something in there beside everything else.
    pub(super) fn start<T: Send + 'static>(
        &self,
        what: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(what)
    }

    /// What is at a path.
    pub(super) fn get(&self, admin: &Admin, path: &str) -> Result<Value> {
        let (admin, path) = (admin.clone(), path.to_owned());
        self.wait(async move { Ok(admin.get(&path).await?) })
    }

    /// Creates something.
    pub(super) fn create(&self, admin: &Admin, path: &str, object: Value) -> Result<Value> {
        let (admin, path) = (admin.clone(), path.to_owned());
        self.wait(async move { Ok(admin.create(&path, &object).await?) })
    }

    /// Changes a part of something, by a merge-patch.
    pub(super) fn patch(&self, admin: &Admin, path: &str, change: Value) -> Result<Value> {
        let (admin, path) = (admin.clone(), path.to_owned());
        self.wait(async move { Ok(admin.patch(&path, &change).await?) })
    }

    /// Watches a path until its objects are as they should be.
    pub(super) fn until(
        &self,
        admin: &Admin,
        what: &str,
        path: &str,
        is: impl Fn(&[Value]) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        let (admin, what, path) = (admin.clone(), what.to_owned(), path.to_owned());
        self.wait(async move { Ok(admin.until(&what, &path, SOON, |all| is(all).then_some(())).await?) })
    }
}

/// The kubeconfig of a K3s server, with the address by which others reach it.
pub(super) fn admin_of(kubeconfig: &str, address: &str, file: &Path) -> Result<Admin> {
    let own = "https://127.0.0.1:6443";
    ensure!(kubeconfig.contains(own), "the kubeconfig does not name {own}");
    std::fs::write(file, kubeconfig.replace(own, &format!("https://{address}:6443")))?;
    Ok(Admin::from_kubeconfig(file)?)
}
