//! The runtime beside the shards: requests to back ends and whatever else may take its time.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads of the runtime. Its work is to wait.
const THREADS: usize = 2;

/// A runtime that can be dropped anywhere, also inside of another one.
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn start() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).max_blocking_threads(THREADS * 8).thread_name("background").enable_io().enable_time();
        builder.build().map(Some).map(Self)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.0.as_ref().expect("the runtime is there until it is dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
