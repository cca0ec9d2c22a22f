//! An address that leads now to one coordinator and now to another: what a virtual address does, or DNS.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::place;

/// A relay on an address of its own. Its threads end with the process of the test.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    target: Option<SocketAddr>,
    open: Vec<TcpStream>,
}

impl Relay {
    /// One that leads nowhere yet: whoever comes is hung up on.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        let address = place::free();
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let relay = Self { address, shared: Arc::new(Mutex::new(Shared { target: None, open: Vec::new() })) };
        let serving = relay.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serving.join(stream)));
        relay
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it leads there; whoever is connected is hung up on.
    pub fn leads_to(&self, target: SocketAddr) {
        let mut shared = self.lock();
        shared.target = Some(target);
        for stream in shared.open.drain(..) {
            // One that is closed already cannot be closed again.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn join(&self, near: TcpStream) {
        let mut shared = self.lock();
        let Some(Ok(far)) = shared.target.map(TcpStream::connect) else { return };
        for (from, to) in [(&near, &far), (&far, &near)] {
            if let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) {
                std::thread::spawn(move || pump(from, to));
            }
        }
        shared.open.extend([near, far]);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
