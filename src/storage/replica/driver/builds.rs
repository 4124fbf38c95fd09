//! The thread that makes blocks, one after the other.
//!
//! Owns the thread; how a block is made is the [`Builder`]'s. A build that panics is a job that gave up.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::{Builder, Command, panic_text};
use crate::replication::build::Build;
use crate::replication::replica::Ticket;

pub struct Builds(Sender<(Ticket, Build)>);

impl Builds {
    pub fn start<W: Send + 'static>(
        builder: Arc<dyn Builder>,
        commands: Sender<Command<W>>,
    ) -> io::Result<Self> {
        let (sender, received) = channel::<(Ticket, Build)>();
        let run = move || {
            while let Ok((ticket, build)) = received.recv() {
                let built = catch_unwind(AssertUnwindSafe(|| builder.build(&build)));
                let built = built.unwrap_or_else(|panic| Err(panic_text(&*panic)));
                drop(build);
                if commands.send(Command::Built { ticket, built }).is_err() {
                    return; // the replica has ended
                }
            }
        };
        std::thread::Builder::new().name("onggi-build".to_owned()).spawn(run)?;
        Ok(Self(sender))
    }

    /// Has blocks made; [`Command::Built`] follows.
    pub fn push(&self, ticket: Ticket, build: Build) {
        self.0.send((ticket, build)).expect("the thread ends with its sender, and outlives a panic");
    }
}
