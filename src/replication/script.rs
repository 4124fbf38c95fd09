//! Scripts: work of many steps, written as it reads and run without any input or output of its own.
//!
//! Owns how an `async` function becomes a state machine that takes answers and gives questions. There is no
//! executor, no waker and no thread: a script moves only when [`Script::resume`] is called, and all it can
//! wait for is an answer or a time. It is given its facts at the start and gives back an outcome; it never
//! sees the replica's state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::bucket::{Answer, BucketError, Entry, Request};
use super::build::{Build, NewBlock};
use super::codec::CodecError;
use super::names::ObjectName;
use super::timing::{Moment, Timing};

/// Objects that a script reads or deletes at the same time.
const AT_ONCE_MAX: usize = 16;

/// Why a script gave up. None of them harms: the work is done again, by anybody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    #[error("{name}: {source}")]
    Bucket { name: String, source: BucketError },
    #[error("{name}: {source}")]
    Damaged { name: String, source: CodecError },
    #[error("block {name} has other bytes than its record says")]
    OtherBytes { name: String },
    #[error("bucket answered something else than it was asked")]
    WrongAnswer,
    #[error("build blocks: {0}")]
    Build(String),
    #[error("it took too long to be published safely")]
    TooLate,
    #[error("a deletion is being made")]
    DeletionOpen,
    #[error("listing of {0} does not go on")]
    Listing(&'static str),
}

/// What a script asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    Bucket(Request),
    Build(Build),
}

/// What a script is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Bucket(Result<Answer, BucketError>),
    Built(Result<Vec<NewBlock>, String>),
}

#[derive(Debug, Default)]
struct Tray {
    now: Moment,
    drawn: u32,
    asked: Vec<(u32, Ask)>,
    replies: BTreeMap<u32, Reply>,
    alarms: BTreeSet<u64>,
}

/// Where a script puts its questions and finds its answers.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Tray>>);

impl Desk {
    pub fn now(&self) -> Moment {
        self.0.lock().now
    }

    /// Waits until the monotonic clock shows `boot_ms`.
    pub async fn wait_until(&self, boot_ms: u64) {
        std::future::poll_fn(|_| {
            let mut tray = self.0.lock();
            if tray.now.boot_ms >= boot_ms {
                return Poll::Ready(());
            }
            tray.alarms.insert(boot_ms);
            Poll::Pending
        })
        .await;
    }

    fn ask(&self, ask: Ask) -> u32 {
        let mut tray = self.0.lock();
        let ticket = tray.drawn;
        tray.drawn += 1;
        tray.asked.push((ticket, ask));
        ticket
    }

    async fn reply(&self, ticket: u32) -> Reply {
        std::future::poll_fn(|_| match self.0.lock().replies.remove(&ticket) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        })
        .await
    }

    async fn bucket(&self, request: Request) -> Result<Answer, BucketError> {
        let ticket = self.ask(Ask::Bucket(request));
        bucket_reply(self.reply(ticket).await)
    }

    pub async fn put(&self, name: &ObjectName, bytes: &Bytes) -> Result<(), JobError> {
        let request = Request::Put { name: name.clone(), bytes: bytes.clone() };
        self.bucket(request).await.map(|_| ()).map_err(|source| failed(name, source))
    }

    /// Writes an object that is written again and again; answers what tells this content from any other in a listing,
    /// where the store says so.
    pub async fn put_tagged(&self, name: &ObjectName, bytes: &Bytes) -> Result<Option<String>, JobError> {
        let request = Request::Put { name: name.clone(), bytes: bytes.clone() };
        match self.bucket(request).await.map_err(|source| failed(name, source))? {
            Answer::Tagged(tag) => Ok(tag),
            _ => Ok(None),
        }
    }

    /// Writes, again and again while the outcome is unknown, until `deadline_ms`.
    pub async fn put_until(
        &self,
        timing: &Timing,
        deadline_ms: u64,
        name: &ObjectName,
        bytes: &Bytes,
    ) -> Result<(), JobError> {
        for failures in 1.. {
            if self.now().boot_ms >= deadline_ms {
                break;
            }
            match self.put(name, bytes).await {
                Err(JobError::Bucket { source: BucketError::Unknown(_), .. }) => {}
                outcome => return outcome,
            }
            self.wait_until(self.now().boot_ms + timing.backoff_ms(failures)).await;
        }
        Err(JobError::TooLate)
    }

    /// Reads objects, a number of them at a time; answers in the order of `names`.
    pub async fn get_each(&self, names: &[ObjectName]) -> Vec<Result<Bytes, BucketError>> {
        let mut objects = Vec::with_capacity(names.len());
        for names in names.chunks(AT_ONCE_MAX) {
            let get = |name: &ObjectName| self.ask(Ask::Bucket(Request::Get { name: name.clone() }));
            let tickets: Vec<u32> = names.iter().map(get).collect();
            for ticket in tickets {
                objects.push(match bucket_reply(self.reply(ticket).await) {
                    Ok(Answer::Object(bytes)) => Ok(bytes),
                    Ok(_) => Err(BucketError::Unknown("answered something else".to_owned())),
                    Err(error) => Err(error),
                });
            }
        }
        objects
    }

    /// How long objects are, a number of them at a time and as long as it is not `until_ms`; answers in the order
    /// of `names`, of as many as there was time for.
    pub async fn size_each(&self, names: &[ObjectName], until_ms: u64) -> Vec<Result<u64, BucketError>> {
        let mut sizes = Vec::with_capacity(names.len());
        for names in names.chunks(AT_ONCE_MAX) {
            if self.now().boot_ms >= until_ms {
                break;
            }
            let ask = |name: &ObjectName| self.ask(Ask::Bucket(Request::Size { name: name.clone() }));
            let tickets: Vec<u32> = names.iter().map(ask).collect();
            for ticket in tickets {
                sizes.push(size_in(bucket_reply(self.reply(ticket).await)));
            }
        }
        sizes
    }

    pub async fn delete(&self, name: &ObjectName) -> Result<(), JobError> {
        let request = Request::Delete { name: name.clone() };
        self.bucket(request).await.map(|_| ()).map_err(|source| failed(name, source))
    }

    /// Deletes objects, a number of them at a time; the first error ends it.
    pub async fn delete_each(&self, names: &[ObjectName]) -> Result<(), JobError> {
        for names in names.chunks(AT_ONCE_MAX) {
            let delete = |name: &ObjectName| self.ask(Ask::Bucket(Request::Delete { name: name.clone() }));
            let tickets: Vec<u32> = names.iter().map(delete).collect();
            let mut deleted = Ok(());
            for (name, ticket) in names.iter().zip(tickets) {
                let answer = bucket_reply(self.reply(ticket).await);
                deleted = deleted.and(answer.map(|_| ()).map_err(|source| failed(name, source)));
            }
            deleted?;
        }
        Ok(())
    }

    /// Lists everything with this prefix, in the order of keys; an error where a page is missing, with what
    /// came before it.
    pub async fn list(&self, prefix: &'static str) -> Result<Vec<Entry>, (Vec<Entry>, JobError)> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map(|entry| entry.key.clone());
            let page = match self.bucket(Request::List { prefix, after: after.clone() }).await {
                Ok(Answer::Page(page)) => page,
                Ok(_) => return Err((entries, JobError::WrongAnswer)),
                Err(source) => {
                    return Err((entries, JobError::Bucket { name: prefix.to_owned(), source }));
                }
            };
            // A store that repeats itself would be listed for ever, one that jumps back would hide keys.
            let mut keys = after.iter().map(String::as_str).chain(page.entries.iter().map(|e| &*e.key));
            let mut previous = keys.next();
            let rises = keys.all(|key| previous.replace(key).is_none_or(|before| before < key));
            if !rises || (page.more && page.entries.is_empty()) {
                return Err((entries, JobError::Listing(prefix)));
            }
            entries.extend(page.entries);
            if !page.more {
                return Ok(entries);
            }
        }
    }

    /// Has the storage make blocks.
    pub async fn build(&self, build: Build) -> Result<Vec<NewBlock>, JobError> {
        let ticket = self.ask(Ask::Build(build));
        match self.reply(ticket).await {
            Reply::Built(built) => built.map_err(JobError::Build),
            Reply::Bucket(_) => Err(JobError::WrongAnswer),
        }
    }
}

fn size_in(answered: Result<Answer, BucketError>) -> Result<u64, BucketError> {
    match answered? {
        Answer::Size(bytes) => Ok(bytes),
        _ => Err(BucketError::Unknown("answered something else".to_owned())),
    }
}

pub fn failed(name: &ObjectName, source: BucketError) -> JobError {
    JobError::Bucket { name: name.to_string(), source }
}

fn bucket_reply(reply: Reply) -> Result<Answer, BucketError> {
    match reply {
        Reply::Bucket(answer) => answer,
        Reply::Built(_) => Err(BucketError::Unknown("answered something else".to_owned())),
    }
}

/// A script that is under way.
pub struct Script<T> {
    desk: Desk,
    future: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> fmt::Debug for Script<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("desk", &self.desk).finish_non_exhaustive()
    }
}

/// How far a script came.
#[derive(Debug)]
pub enum Progress<T> {
    /// It asked this, and waits.
    Asked(Vec<(u32, Ask)>),
    Done(T),
}

impl<T> Script<T> {
    /// A script at its first line.
    pub fn new<F: Future<Output = T> + Send + 'static>(begin: impl FnOnce(Desk) -> F) -> Self {
        let desk = Desk::default();
        Self { future: Box::pin(begin(desk.clone())), desk }
    }

    /// Goes on until the script waits again.
    pub fn resume(&mut self, now: Moment, reply: Option<(u32, Reply)>) -> Progress<T> {
        {
            let mut tray = self.desk.0.lock();
            tray.now = now;
            tray.alarms = tray.alarms.split_off(&(now.boot_ms + 1));
            tray.replies.extend(reply);
        }
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Progress::Done(outcome),
            Poll::Pending => Progress::Asked(std::mem::take(&mut self.desk.0.lock().asked)),
        }
    }

    /// When it wants to be resumed without an answer.
    pub fn alarm_ms(&self) -> Option<u64> {
        self.desk.0.lock().alarms.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::bucket::Page;
    use super::super::names::RECORDS;
    use super::*;

    fn at(boot_ms: u64) -> Moment {
        Moment { boot_ms, wall_ms: 0 }
    }

    fn page(keys: &[&str], more: bool) -> Reply {
        let entry = |key: &&str| Entry { key: (*key).to_owned(), bytes: 0, modified_ms: 0, tag: None };
        Reply::Bucket(Ok(Answer::Page(Page { entries: keys.iter().map(entry).collect(), more })))
    }

    fn list_through(pages: &[Reply]) -> Result<usize, (usize, JobError)> {
        let mut script = Script::new(|desk| async move { desk.list(RECORDS).await });
        let mut progress = script.resume(at(0), None);
        for reply in pages {
            let Progress::Asked(asked) = progress else {
                panic!("pages are left over");
            };
            let [(ticket, _)] = asked[..] else {
                panic!("one page is asked at a time: {asked:?}");
            };
            progress = script.resume(at(0), Some((ticket, reply.clone())));
        }
        match progress {
            Progress::Done(listed) => {
                listed.map(|entries| entries.len()).map_err(|(entries, error)| (entries.len(), error))
            }
            Progress::Asked(_) => panic!("pages are missing"),
        }
    }

    #[test]
    fn a_listing_is_complete_or_an_error() {
        let lost = Reply::Bucket(Err(BucketError::Unknown("lost".to_owned())));

        assert_eq!(list_through(&[page(&["cat/a", "cat/b"], true), page(&["cat/c"], false)]), Ok(3));
        let (listed, error) = list_through(&[page(&["cat/a"], true), lost]).expect_err("a page is missing");
        assert_eq!(listed, 1);
        assert!(matches!(error, JobError::Bucket { .. }));
        for stuck in [page(&["cat/a"], false), page(&[], true)] {
            let (_, error) = list_through(&[page(&["cat/a"], true), stuck]).expect_err("it goes in circles");
            assert_eq!(error, JobError::Listing(RECORDS));
        }
    }

    #[test]
    fn a_write_is_repeated_while_its_outcome_is_unknown_and_then_given_up() {
        let name = ObjectName::Node("a".to_owned());
        let start = || {
            let name = name.clone();
            Script::new(|desk| async move {
                desk.put_until(&Timing::default(), 1000, &name, &Bytes::from_static(b"x")).await
            })
        };
        let lost = || Reply::Bucket(Err(BucketError::Unknown("lost".to_owned())));

        let mut script = start();
        assert!(matches!(script.resume(at(0), None), Progress::Asked(asked) if asked.len() == 1));
        assert!(
            matches!(script.resume(at(10), Some((0, lost()))), Progress::Asked(asked) if asked.is_empty())
        );
        assert_eq!(script.alarm_ms(), Some(110));
        assert!(matches!(script.resume(at(110), None), Progress::Asked(asked) if asked.len() == 1));
        let done = Reply::Bucket(Ok(Answer::Done));
        assert!(matches!(script.resume(at(120), Some((1, done))), Progress::Done(Ok(()))));

        let mut script = start();
        script.resume(at(0), None);
        script.resume(at(990), Some((0, lost())));
        assert!(matches!(script.resume(at(1090), None), Progress::Done(Err(JobError::TooLate))));
    }
}
