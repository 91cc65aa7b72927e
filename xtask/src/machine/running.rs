//! A machine that runs: typed into, listened to, and ended, at its deadline at the latest.
//!
//! Invariant: when this value is gone, so is the emulator.

use crate::machine::bochs::words::Words;
use crate::machine::console::{Console, Silence};
use crate::machine::description::{ConsoleSink, LogSink};
use crate::machine::log::{self, Log};
use crate::machine::wiring::{ConsoleWire, LogWire, Verdict, Wiring};
use crate::machine::{Ending, Machine, backtrace};
use anyhow::{Context, Result, bail};
use defmt_decoder::Table;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often it is looked whether the emulator still runs.
const GLANCE: Duration = Duration::from_millis(20);

/// How long an emulator may take until it has a console.
const CONSOLE_LIMIT: Duration = Duration::from_secs(20);

/// The other end of a machine's keyboard.
pub type Keyboard = Box<dyn Write + Send>;

/// A running machine.
pub struct Running {
    child: Child,
    keyboard: Option<Keyboard>,
    console: Arc<Console>,
    log: Arc<Log>,
    complaints: Arc<Console>,
    over: Arc<AtomicBool>,
    /// The image's last words; 0 when there were none.
    last_words: Arc<AtomicU8>,
    verdict: Verdict,
    readers: Vec<JoinHandle<()>>,
    image: Option<PathBuf>,
    deadline: Option<Instant>,
    ending: Option<Ending>,
    scratch: Vec<TempDir>,
}

impl Running {
    pub(super) fn start(machine: Machine, wiring: Wiring, scratch: TempDir) -> Result<Running> {
        let image = machine.boot.image().map(Path::to_path_buf);
        let table = image.as_deref().map(log::table).transpose()?.flatten();
        let deadline = machine.time_limit.map(|limit| Instant::now() + limit);
        let mut command = wiring.command;
        if let ConsoleWire::Debugger(file) = &wiring.console {
            eprintln!(
                "xtask: this terminal is the debugger's; the console is in {}",
                file.display()
            );
        } else {
            // Ctrl-C is for us, who then end the emulator in order.
            command
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut running = Running {
            child,
            keyboard: None,
            console: Arc::default(),
            log: Arc::default(),
            complaints: Arc::default(),
            over: Arc::default(),
            last_words: Arc::default(),
            verdict: wiring.verdict,
            readers: Vec::new(),
            image,
            deadline,
            ending: None,
            scratch: vec![scratch],
        };
        if let Some(stream) = running.child.stderr.take() {
            let complaints = Arc::clone(&running.complaints);
            running.read(move || listen(stream, &complaints, None));
        }
        let scribe = Scribe {
            table,
            log: Arc::clone(&running.log),
            sink: machine.log_sink,
        };
        running.connect_log(wiring.log, scribe)?;
        running.connect_console(wiring.console, machine.console_sink)?;
        Ok(running)
    }

    fn read(&mut self, reader: impl FnOnce() + Send + 'static) {
        self.readers.push(std::thread::spawn(reader));
    }

    fn connect_log(&mut self, wire: LogWire, scribe: Scribe) -> Result<()> {
        match wire {
            LogWire::None => {}
            LogWire::Socket(socket) => {
                socket
                    .set_nonblocking(true)
                    .context("cannot open a socket for the log")?;
                let over = Arc::clone(&self.over);
                self.read(move || {
                    if let Some(stream) = accept(&socket, &over) {
                        scribe.write_down(stream);
                    }
                });
            }
            LogWire::Stdout => {
                let stdout = self.child.stdout.take().context("the emulator has no output")?;
                let (frames, mut sorted) = std::io::pipe().context("cannot open a pipe for the log")?;
                let last_words = Arc::clone(&self.last_words);
                self.read(move || {
                    let mut words = Words::default();
                    each_chunk(stdout, |bytes| {
                        // An error means that the log's reader is gone; the verdict is still wanted.
                        let _ = sorted.write_all(&words.take(bytes));
                    });
                    last_words.store(words.verdict().unwrap_or(0), Ordering::Release);
                });
                self.read(move || scribe.write_down(frames));
            }
        }
        Ok(())
    }

    fn connect_console(&mut self, wire: ConsoleWire, sink: Option<ConsoleSink>) -> Result<()> {
        let console = Arc::clone(&self.console);
        match wire {
            ConsoleWire::Stdio => {
                let keyboard = self.child.stdin.take();
                self.keyboard = keyboard.map(|keyboard| Box::new(keyboard) as Keyboard);
                if let Some(stream) = self.child.stdout.take() {
                    self.read(move || listen(stream, &console, sink));
                }
            }
            ConsoleWire::Socket(socket) => match self.accept_console(&socket)? {
                Some(stream) => {
                    let keyboard = stream.try_clone().context("cannot use the console's socket")?;
                    self.keyboard = Some(Box::new(keyboard));
                    self.read(move || listen(stream, &console, sink));
                }
                // It ended at once; why is among its complaints.
                None => console.close(),
            },
            ConsoleWire::Debugger(_) => console.close(),
        }
        Ok(())
    }

    /// The emulator's connection to us, unless it ends before.
    fn accept_console(&mut self, socket: &TcpListener) -> Result<Option<TcpStream>> {
        let wrong = "cannot open a socket for the console";
        socket.set_nonblocking(true).context(wrong)?;
        let until = Instant::now() + CONSOLE_LIMIT;
        while Instant::now() < until {
            match socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).context(wrong)?;
                    // What is typed goes out letter by letter.
                    stream.set_nodelay(true).context(wrong)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.child.try_wait().context("lost the emulator")?.is_some() {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error).context(wrong),
            }
        }
        bail!(
            "the emulator does not connect its console\n{}",
            self.complaints.text()
        )
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
    pub fn take_keyboard(&mut self) -> Option<Keyboard> {
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
                let last_words = Some(self.last_words.load(Ordering::Acquire)).filter(|word| *word != 0);
                let mut ending = self.verdict.ending(status, last_words, self.image.is_some());
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

    /// What somebody needs to understand a failure: the end of the console, the log, the emulator's complaints, and the host's
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
            ("the emulator says", self.complaints.tail(20)),
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

    /// What the emulator itself had to say.
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

/// Who writes the log down.
struct Scribe {
    /// How its frames are read; none when the image logs nothing.
    table: Option<Table>,
    log: Arc<Log>,
    sink: Option<LogSink>,
}

impl Scribe {
    fn write_down<S: Read>(mut self, mut stream: S) {
        let Some(table) = &self.table else {
            // Nobody can read it, but the machine must not wait for a reader.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        };
        log::decode(stream, table, |line| {
            if let Some(sink) = &mut self.sink {
                sink(&line);
            }
            self.log.push(line);
        });
    }
}

fn listen(stream: impl Read, console: &Console, mut sink: Option<ConsoleSink>) {
    each_chunk(stream, |bytes| {
        if let Some(sink) = &mut sink {
            sink(bytes);
        }
        console.push(bytes);
    });
    console.close();
}

/// Hands all that `stream` gives to `take`, until it ends.
fn each_chunk(mut stream: impl Read, mut take: impl FnMut(&[u8])) {
    let mut chunk = [0_u8; 16384];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => take(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
}
