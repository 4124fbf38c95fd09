//! Stores that fail and stores that lie, for tests.
//!
//! Owns what may go wrong with a call: an error before it took effect, one after, an effect that comes later than
//! its error, a listing that breaks off, an answer that takes its time. All from a seed. What a liar answers
//! looks right.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::client::BucketClient;
use super::location;
pub use super::store::Store;
use super::store::{Answering, Wanted};
use crate::replication::bucket::{BucketError, Page, Ranged};

/// A bucket in memory, or in a folder.
pub fn plain(url: &str) -> Arc<dyn Store> {
    location::open(url, &[]).unwrap().log
}

pub fn client(store: Arc<dyn Store>) -> BucketClient {
    BucketClient::over("test", Arc::clone(&store), store)
}

/// A store in front of another that fails now and then, until it is healed.
pub struct Faulty {
    inner: Arc<dyn Store>,
    dice: AtomicU64,
    healed: AtomicBool,
    broken: AtomicBool,
    pub faults: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Before,
    After,
    Late,
    Twice,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, seed: u64) -> Arc<Self> {
        let dice = AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (healed, broken) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { inner, dice, healed, broken, faults: AtomicU64::new(0) })
    }

    /// From now on no call takes effect, until it is healed.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.healed.store(false, Ordering::SeqCst);
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.broken.store(false, Ordering::SeqCst);
        self.healed.store(true, Ordering::SeqCst);
    }

    fn roll(&self, below: u64) -> u64 {
        let mut drawn = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (drawn ^ (drawn >> 31)) % below
    }

    /// One call in five fails somehow.
    fn fault(&self) -> Option<Fault> {
        if self.healed.load(Ordering::SeqCst) {
            return None;
        }
        if self.broken.load(Ordering::SeqCst) {
            return Some(Fault::Before);
        }
        let fault = match self.roll(20) {
            0 => Fault::Before,
            1 => Fault::After,
            2 => Fault::Late,
            3 => Fault::Twice,
            _ => return None,
        };
        self.faults.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }

    async fn dawdle(&self) {
        if !self.healed.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(self.roll(30))).await;
        }
    }

    /// The call takes effect when nobody waits for it any more.
    fn later(&self, call: impl Fn(Arc<dyn Store>) -> Answering<'static, ()> + Send + Sync + 'static) {
        let (inner, millis) = (Arc::clone(&self.inner), 50 + self.roll(500));
        tokio::spawn(async move {
            sleep(Duration::from_millis(millis)).await;
            // Nobody is told.
            let _ = call(inner).await;
        });
    }

    /// A call that changes something, with what may happen to it.
    async fn change(
        &self,
        call: impl Fn(Arc<dyn Store>) -> Answering<'static, ()> + Send + Sync + 'static,
    ) -> Result<(), BucketError> {
        self.dawdle().await;
        match self.fault() {
            None => call(Arc::clone(&self.inner)).await,
            Some(Fault::Before) => lost(),
            Some(Fault::After) => {
                call(Arc::clone(&self.inner)).await?;
                lost()
            }
            Some(Fault::Late) => {
                self.later(call);
                lost()
            }
            Some(Fault::Twice) => {
                call(Arc::clone(&self.inner)).await?;
                self.later(call);
                Ok(())
            }
        }
    }
}

fn lost<T>() -> Result<T, BucketError> {
    Err(BucketError::Unknown("the fault that was asked for".to_owned()))
}

impl Store for Faulty {
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, ()> {
        let key = key.to_owned();
        Box::pin(self.change(move |inner| {
            let (key, bytes) = (key.clone(), bytes.clone());
            Box::pin(async move { inner.put(&key, bytes).await })
        }))
    }

    fn create<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, bool> {
        self.inner.create(key, bytes)
    }

    fn get<'a>(&'a self, key: &'a str, wanted: Wanted, bytes_max: u64) -> Answering<'a, Ranged> {
        Box::pin(async move {
            self.dawdle().await;
            match self.fault() {
                None | Some(Fault::Twice) => self.inner.get(key, wanted, bytes_max).await,
                Some(_) => lost(),
            }
        })
    }

    /// A page that is missing something is an error, whatever came of it.
    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Answering<'a, Page> {
        Box::pin(async move {
            self.dawdle().await;
            let page = self.inner.list(prefix, after).await?;
            match self.fault() {
                None | Some(Fault::Twice) => Ok(page),
                Some(_) => lost(),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answering<'a, ()> {
        let key = key.to_owned();
        Box::pin(self.change(move |inner| {
            let key = key.clone();
            Box::pin(async move { inner.delete(&key).await })
        }))
    }
}

/// What a store answers wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    IgnoresRanges,
    IgnoresSuffixes,
    /// A listing shows what was there one listing earlier.
    ListsLate,
    IgnoresAfter,
    /// A name answers what was first written under it.
    ReadsOld,
    ForgetsWrites,
    EverybodyCreates,
    NobodyMayCreate,
}

/// A store in front of another that answers wrongly.
pub struct Liar {
    inner: Arc<dyn Store>,
    lie: Lie,
    last_page: Mutex<Page>,
}

impl Liar {
    pub fn telling(inner: Arc<dyn Store>, lie: Lie) -> Arc<dyn Store> {
        Arc::new(Self { inner, lie, last_page: Mutex::new(Page::default()) })
    }
}

impl Store for Liar {
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, ()> {
        match self.lie {
            Lie::ForgetsWrites => Box::pin(async { Ok(()) }),
            Lie::ReadsOld => Box::pin(async move { self.inner.create(key, bytes).await.map(|_| ()) }),
            _ => self.inner.put(key, bytes),
        }
    }

    fn create<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answering<'a, bool> {
        match self.lie {
            Lie::EverybodyCreates => Box::pin(async move { self.inner.put(key, bytes).await.map(|()| true) }),
            Lie::NobodyMayCreate => {
                Box::pin(async { Err(BucketError::Refused("not implemented".to_owned())) })
            }
            _ => self.inner.create(key, bytes),
        }
    }

    fn get<'a>(&'a self, key: &'a str, wanted: Wanted, bytes_max: u64) -> Answering<'a, Ranged> {
        match (self.lie, &wanted) {
            (Lie::IgnoresRanges, _) | (Lie::IgnoresSuffixes, Wanted::Suffix(_)) => {
                self.inner.get(key, Wanted::All, bytes_max)
            }
            _ => self.inner.get(key, wanted, bytes_max),
        }
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Answering<'a, Page> {
        Box::pin(async move {
            let after = after.filter(|_| self.lie != Lie::IgnoresAfter);
            let page = self.inner.list(prefix, after).await?;
            match self.lie {
                Lie::ListsLate => Ok(std::mem::replace(&mut *self.last_page.lock(), page)),
                _ => Ok(page),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answering<'a, ()> {
        self.inner.delete(key)
    }
}
