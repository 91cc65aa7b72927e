//! A machine that runs: typed into, listened to, and ended, at its deadline at the latest.
//!
//! Invariant: when this value is gone, so is the emulator.

use crate::machine::console::{Console, Silence};
use crate::machine::log::{self, Log};
use crate::machine::{Ending, Qemu, backtrace};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often it is looked whether the emulator still runs.
const GLANCE: Duration = Duration::from_millis(20);

/// A running machine.
pub struct Running {
    child: Child,
    keyboard: Option<ChildStdin>,
    console: Arc<Console>,
    log: Arc<Log>,
    complaints: Arc<Console>,
    over: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
    image: Option<PathBuf>,
    deadline: Option<Instant>,
    ending: Option<Ending>,
    scratch: Vec<TempDir>,
}

impl Running {
    pub(super) fn start(
        machine: Qemu,
        mut command: Command,
        scratch: TempDir,
        log_socket: &Path,
    ) -> Result<Running> {
        let image = machine.boot.image().map(Path::to_path_buf);
        let over = Arc::new(AtomicBool::new(false));
        let log = Arc::new(Log::default());
        let mut readers = Vec::new();
        if let Some(image) = &image {
            let socket = UnixListener::bind(log_socket).context("cannot open a socket for the log")?;
            socket
                .set_nonblocking(true)
                .context("cannot open a socket for the log")?;
            let table = log::table(image)?;
            let (over, log) = (Arc::clone(&over), Arc::clone(&log));
            let mut sink = machine.log_sink;
            readers.push(std::thread::spawn(move || {
                let Some(stream) = accept(&socket, &over) else {
                    return;
                };
                let Some(table) = table else {
                    // Nobody can read it, but the machine must not wait for a reader.
                    let _ = std::io::copy(&mut { stream }, &mut std::io::sink());
                    return;
                };
                log::decode(stream, &table, |line| {
                    if let Some(sink) = &mut sink {
                        sink(&line);
                    }
                    log.push(line);
                });
            }));
        }
        // Ctrl-C is for us, who then end the emulator in order.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (console, complaints) = (Arc::new(Console::default()), Arc::new(Console::default()));
        if let Some(stream) = child.stdout.take() {
            let console = Arc::clone(&console);
            readers.push(std::thread::spawn(move || {
                listen(stream, &console, machine.console_sink)
            }));
        }
        if let Some(stream) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            readers.push(std::thread::spawn(move || listen(stream, &complaints, None)));
        }
        Ok(Running {
            keyboard: child.stdin.take(),
            child,
            console,
            log,
            complaints,
            over,
            readers,
            image,
            deadline: machine.time_limit.map(|limit| Instant::now() + limit),
            ending: None,
            scratch: vec![scratch],
        })
    }

    /// Keeps a folder the machine was made from as long as the machine.
    pub fn keep(&mut self, folder: TempDir) {
        self.scratch.push(folder);
    }

    /// What the console says and said.
    pub fn console(&self) -> Arc<Console> {
        Arc::clone(&self.console)
    }

    /// The host's log.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// The other end of the machine's keyboard, to be given to whoever types; at most once.
    pub fn take_keyboard(&mut self) -> Option<ChildStdin> {
        self.keyboard.take()
    }

    /// Types `text` and a line end.
    pub fn type_line(&mut self, text: &str) -> Result<()> {
        let keyboard = self.keyboard.as_mut().context("somebody else has the keyboard")?;
        keyboard
            .write_all(format!("{text}\n").as_bytes())
            .context("cannot type into the machine")?;
        keyboard.flush().context("cannot type into the machine")
    }

    /// Waits until the console says `text` (after what was waited for last), and answers with what it said up to there.
    /// The error tells what it said instead.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        match self.console.wait_for(text, self.deadline) {
            Ok(said) => Ok(said),
            Err(Silence::Closed) => {
                let ending = self.wait()?;
                bail!("{ending} before the console said {text:?}\n{}", self.story())
            }
            Err(Silence::TimedOut) => {
                self.stop(Ending::TimedOut);
                bail!("the console did not say {text:?} in time\n{}", self.story())
            }
        }
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Result<Option<Ending>> {
        if self.ending.is_none() {
            if let Some(status) = self.child.try_wait().context("lost the emulator")? {
                self.gather();
                let mut ending = Ending::of(status, self.image.is_some());
                // A bare machine has nobody who would tell a panic from a restart.
                if self.image.is_none() && self.console.text().contains("Kernel panic - not syncing") {
                    ending = Ending::GuestCrashed;
                }
                self.ending = Some(ending);
            } else if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.stop(Ending::TimedOut);
            }
        }
        Ok(self.ending)
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> Result<Ending> {
        loop {
            if let Some(ending) = self.try_wait()? {
                return Ok(ending);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until it ends, and calls it an error if it does not end as `expected`.
    pub fn expect(&mut self, expected: Ending) -> Result<()> {
        let ending = self.wait()?;
        if ending != expected {
            bail!("expected that {expected}; but {ending}\n{}", self.story());
        }
        Ok(())
    }

    /// Stops it, for the reason `ending`; does nothing when it has ended already.
    pub fn stop(&mut self, ending: Ending) {
        if self.ending.is_none() {
            // An error means that it has ended by itself meanwhile.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.ending = Some(ending);
            self.gather();
        }
    }

    /// Changes when it is stopped at the latest, counted from now; none for never.
    pub fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.deadline = limit.map(|limit| Instant::now() + limit);
    }

    /// What somebody needs to understand a failure: the end of the console, the log, QEMU's complaints, and the host's
    /// backtrace with names.
    pub fn story(&self) -> String {
        let console = self.console.text();
        let backtrace = self
            .image
            .as_deref()
            .map(|image| backtrace::symbolise(&console, image))
            .unwrap_or_default();
        let log = self.log.text();
        let log: Vec<&str> = log.lines().collect();
        let log = log
            .get(log.len().saturating_sub(40)..)
            .unwrap_or_default()
            .join("\n");
        let mut story = String::new();
        for (title, text) in [
            ("the console's last lines", self.console.tail(60)),
            ("the host's backtrace", backtrace),
            ("the host log's last lines", log),
            ("QEMU says", self.complaints.tail(20)),
        ] {
            if !text.trim().is_empty() {
                story.push_str(&format!("---- {title} ----\n{}\n", text.trim_end()));
            }
        }
        story
    }

    /// The backtrace of the host with names, when it printed one.
    pub fn backtrace(&self) -> String {
        self.image
            .as_deref()
            .map(|image| backtrace::symbolise(&self.console.text(), image))
            .unwrap_or_default()
    }

    /// What QEMU itself had to say.
    pub fn complaints(&self) -> String {
        self.complaints.text()
    }

    fn gather(&mut self) {
        self.over.store(true, Ordering::Release);
        self.keyboard = None;
        for reader in self.readers.drain(..) {
            // A reader that panicked has nothing more to give.
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop(Ending::Stopped);
    }
}

fn accept(socket: &UnixListener, over: &AtomicBool) -> Option<std::os::unix::net::UnixStream> {
    loop {
        match socket.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).ok()?;
                return Some(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if over.load(Ordering::Acquire) {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(_) => return None,
        }
    }
}

fn listen(mut stream: impl Read, console: &Console, mut sink: Option<crate::machine::qemu::ConsoleSink>) {
    let mut chunk = [0_u8; 16384];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                if let Some(sink) = &mut sink {
                    sink(bytes);
                }
                console.push(bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    console.close();
}
