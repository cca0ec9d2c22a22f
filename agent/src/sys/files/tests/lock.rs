use std::{
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::sys::files::lock::holder_in;

/// Says when it is asked and, each time, goes on only when it may.
fn asked() -> (Stop, Receiver<()>, Sender<()>) {
    let ((ask, asks), (go, may)) = (channel(), channel());
    let may = Mutex::new(may);
    let stop = Stop::once(move || {
        // Nobody listens any more, or nobody keeps it back any more: both let it go on.
        let _ = ask.send(());
        let _ = may.lock().unwrap().recv();
        None
    });
    (stop, asks, go)
}

#[test]
fn a_restore_waits_for_an_exchange_that_is_at_its_trade_and_puts_the_old_file_back() {
    let yard = yard();
    let old = fs::metadata(yard.path()).unwrap().ino();
    let (stop, at_trade, go_on) = asked();
    let place = yard.place().until(stop);
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    let restored = thread::scope(|threads| {
        let exchange = threads.spawn(|| place.exchange(&target, &staged));
        at_trade.recv().unwrap();
        let (stop, waits, try_again) = asked();
        let restore = threads.spawn(|| yard.place().until(stop).restore(Sha256::of(OLD), Sha256::of(NEW)));
        // It is asked while it waits. One that read now would find the old file and let go of the kept name.
        waits.recv().unwrap();
        assert_eq!(yard.content(), OLD);
        drop(go_on);
        exchange.join().unwrap().unwrap();
        assert_eq!(yard.content(), NEW);
        drop(try_again);
        restore.join().unwrap().unwrap()
    });
    assert!(restored);
    assert_eq!(fs::metadata(yard.path()).unwrap().ino(), old);
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn an_exchange_that_was_given_up_does_not_trade_and_leaves_nothing() {
    let yard = yard();
    let stop = Stop::default();
    let wanted = stop.on_drop();
    let place = yard.place().until(stop);
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    drop(wanted);
    let error = place.exchange(&target, &staged).unwrap_err().to_string();
    assert!(error.contains("its time was over"), "{error}");
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn a_restore_that_was_given_up_changes_nothing() {
    let yard = yard();
    yard.swap().unwrap();
    let stop = Stop::default();
    drop(stop.on_drop());
    let place = yard.place().until(stop);
    assert!(place.restore(Sha256::of(OLD), Sha256::of(NEW)).is_err());
    assert_eq!((yard.content(), yard.names()), (NEW.to_vec(), vec![KEPT.to_owned(), "etcd".to_owned()]));
}

/// As another process's: nothing tells this exchange but what lies on the disk.
#[test]
fn an_exchange_that_was_taken_back_before_its_trade_does_not_trade_any_more() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    assert!(!yard.restore().unwrap());
    let error = place.exchange(&target, &staged).unwrap_err().to_string();
    assert!(error.contains("removed or changed meanwhile"), "{error}");
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn without_the_kept_file_nothing_is_exchanged() {
    let yard = yard();
    let place = yard.place();
    let target = place.target(&BinaryRule::default()).unwrap();
    let staged = place.stage(&target, &yard.artifact, Sha256::of(NEW)).unwrap();
    fs::remove_file(yard.bin().join(KEPT)).unwrap();
    assert!(place.exchange(&target, &staged).is_err());
    assert_eq!((yard.content(), yard.names()), (OLD.to_vec(), vec!["etcd".to_owned()]));
}

#[test]
fn a_lock_that_is_not_let_go_is_an_error_that_names_its_holder() {
    let yard = yard();
    let held = yard.place().hold().unwrap();
    let FileError::Refused { what, next } = yard.place().hold_within(Duration::ZERO).unwrap_err() else {
        panic!("no refusal")
    };
    assert!(what.contains("nothing was changed") && what.contains("has been locked"), "{what}");
    assert!(next.contains("fuser -v"), "{next}");
    drop(held);
    assert!(yard.restore().is_ok_and(|restored| !restored), "free again");
}

#[test]
fn the_holder_is_the_process_that_has_the_lock_and_not_one_that_waits_or_has_another() {
    let locks = "1: POSIX  ADVISORY  WRITE 1 08:01:131 0 EOF\n2: FLOCK  ADVISORY  WRITE 2 08:01:132 0 EOF\n\
                 3: -> FLOCK  ADVISORY  WRITE 3 08:01:131 0 EOF\n4: FLOCK  ADVISORY  WRITE 4 08:01:131 0 EOF\n";
    assert_eq!(holder_in(locks, "08:01:131"), Some(4));
    assert_eq!(holder_in(locks, "08:01:133"), None);
    assert_eq!(holder_in("", "08:01:131"), None);
}
