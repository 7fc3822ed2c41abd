//! A private RabbitMQ node: its own folder, name, ports and epmd, on loopback only.
//!
//! It never touches a node that it did not start: whatever it ends, it ends by process id. A guard process outlives the
//! test by a moment and cleans up even after `kill -9` of the test or a node kept in a `static`.
//!
//! `QUEBERT_RABBITMQ_ROOT` names the root of another system whose RabbitMQ is used instead of the installed one, as
//! `scripts/rabbitmq4` makes it. Its programs run there by chroot, which wants root.

use super::{
    epmd::Epmd,
    process::{Guard, blocking, reap, run, signal, wait_gone},
};
use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Where Debian keeps the programs themselves; those in /usr/sbin are wrappers that switch the user.
const BIN: &str = "/usr/lib/rabbitmq/bin";
/// The root of another system to run RabbitMQ from.
const ROOT: &str = "QUEBERT_RABBITMQ_ROOT";
/// How long a node may take to come up: 5 to 14 s were measured on two loaded cores, and 50 s on two with 15 at work.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long one `rabbitmqctl` may take: about 1 s when idle.
const CTL_LIMIT: Duration = Duration::from_secs(120);

/// A private node. Dropping it kills the node and removes its folder.
#[derive(Debug)]
pub struct PrivateRabbit {
    folder: PathBuf,
    node: String,
    port: u16,
    dist_port: u16,
    /// Of this node alone, or of its cluster.
    epmd: Arc<Epmd>,
    /// Removes what is left, also when this process is killed.
    _guard: Guard,
}

impl PrivateRabbit {
    /// Starts a node and waits until it takes connections.
    ///
    /// # Errors
    /// When RabbitMQ isn't installed in `/usr/lib/rabbitmq/bin`, or didn't come up within three minutes; its log is in the error.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(String::new()).await
    }

    /// Like [`start`](Self::start), with lines of `rabbitmq.conf` added.
    ///
    /// # Errors
    /// As for `start`.
    pub async fn start_with(conf: String) -> io::Result<Self> {
        Self::start_with_plugins(conf, "").await
    }

    /// Like [`start_with`](Self::start_with), with plugins: names with commas between, such as `rabbitmq_prometheus`.
    ///
    /// # Errors
    /// As for `start`.
    pub async fn start_with_plugins(conf: String, plugins: &'static str) -> io::Result<Self> {
        blocking(move || Self::start_blocking(&unique_name(), Arc::new(Epmd::start()?), &conf, plugins)).await
    }

    /// A node of this name, which the others of its epmd can find.
    pub(super) async fn start_as(name: String, epmd: Arc<Epmd>, conf: String) -> io::Result<Self> {
        blocking(move || Self::start_blocking(&name, epmd, &conf, "")).await
    }

    fn start_blocking(unique: &str, epmd: Arc<Epmd>, conf: &str, plugins: &str) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir_all(folder.join("home"))?;
        let cookie = folder.join("home/.erlang.cookie");
        fs::write(&cookie, "QUEBERTTESTCOOKIE")?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        fs::write(folder.join("plugins"), format!("[{plugins}]."))?;
        fs::write(folder.join("rabbit.conf"), conf)?;
        fs::write(folder.join("advanced.config"), "[].")?;
        let guard = Guard::spawn(REMOVE, &[folder.as_os_str()])?;
        let (port, dist_port) = (free_port()?, free_port()?);
        let rabbit = Self { node: node_name(unique), folder, port, dist_port, epmd, _guard: guard };
        rabbit.launch()?;
        Ok(rabbit)
    }

    /// The name of the node, as the broker writes it.
    pub fn name(&self) -> &str {
        &self.node
    }

    /// `amqp://` address of the default virtual host, as `guest`.
    pub fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// `amqp://` address of a virtual host; the name must need no escapes (or be escaped).
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// The port that AMQP is spoken on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the node, while it runs.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()
    }

    /// Runs `rabbitmqctl` with these arguments (about 1 s each) and returns what it printed.
    ///
    /// # Errors
    /// What it printed, when it failed or took more than two minutes.
    pub async fn ctl(&self, args: &[&str]) -> io::Result<String> {
        let mut command = self.command("rabbitmqctl");
        command.arg("--quiet").args(args);
        blocking(move || run(command, CTL_LIMIT)).await
    }

    /// Adds a virtual host that `guest` may do anything in, so that tests sharing a node don't meet.
    ///
    /// # Errors
    /// As for [`ctl`](Self::ctl).
    pub async fn add_vhost(&self, name: &str) -> io::Result<()> {
        self.ctl(&["add_vhost", name]).await?;
        self.ctl(&["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]).await?;
        Ok(())
    }

    /// Kills the node with SIGKILL; its data stays for [`restart`](Self::restart).
    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            signal("KILL", pid);
            wait_gone(pid);
        }
        let _ = fs::remove_file(self.pid_file());
    }

    /// Stops the node in an orderly way; its data stays.
    ///
    /// # Errors
    /// As for [`ctl`](Self::ctl).
    pub async fn stop(&self) -> io::Result<()> {
        let pid_file = self.pid_file();
        let pid = self.pid();
        self.ctl(&["stop", &pid_file.to_string_lossy()]).await?;
        if let Some(pid) = pid {
            blocking(move || {
                wait_gone(pid);
                Ok(())
            })
            .await?;
        }
        let _ = fs::remove_file(pid_file);
        Ok(())
    }

    /// Starts the node again, with its data, on the same port, after [`kill`](Self::kill) or [`stop`](Self::stop).
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn restart(&self) -> io::Result<()> {
        self.kill();
        self.spawn_server()?;
        let (command, log) = (self.wait_command(), self.folder.join("log"));
        let (pid_file, port) = (self.pid_file(), self.port);
        blocking(move || wait_ready(&pid_file, port, command, &log)).await
    }

    /// Freezes the node (SIGSTOP): its sockets stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(pid) = self.pid() {
            signal("STOP", pid);
        }
    }

    /// Lets a frozen node go on (SIGCONT).
    pub fn thaw(&self) {
        if let Some(pid) = self.pid() {
            signal("CONT", pid);
        }
    }

    fn launch(&self) -> io::Result<()> {
        self.spawn_server()?;
        wait_ready(&self.pid_file(), self.port, self.wait_command(), &self.folder.join("log"))
    }

    fn spawn_server(&self) -> io::Result<()> {
        let out = fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        // A session of its own: a terminal's Ctrl-C is the test's affair.
        let server = self.command("rabbitmq-server");
        Command::new("setsid")
            .arg(server.get_program())
            .args(server.get_args())
            .envs(self.env())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map(reap)
    }

    fn wait_command(&self) -> Command {
        let mut command = self.command("rabbitmqctl");
        command.arg("--quiet").arg("wait").arg(self.pid_file());
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = match std::env::var_os(ROOT) {
            None => Command::new(format!("{BIN}/{program}")),
            // In a mount namespace of its own, in which the other system sees our processes and our folders, so that all
            // paths and process ids mean the same. The mounts go with the last process there.
            Some(root) => {
                let mut command = Command::new("unshare");
                let temp = std::env::temp_dir();
                command.args(["--mount", "sh", "-ec", ENTER, "enter"]).arg(root).arg(temp);
                command.arg(format!("{BIN}/{program}"));
                command
            }
        };
        command.envs(self.env());
        command
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let at = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        vec![
            ("HOME", at("home")),
            ("ERL_EPMD_PORT", self.epmd.port().to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODENAME", self.node.clone()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", self.port.to_string()),
            ("RABBITMQ_DIST_PORT", self.dist_port.to_string()),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("logs")),
            ("RABBITMQ_LOGS", at("logs/node.log")),
            ("RABBITMQ_PID_FILE", at("pid")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins")),
            ("RABBITMQ_CONFIG_FILE", at("rabbit.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config")),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_GENERATED_CONFIG_DIR", at("generated")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".into()),
            ("LC_ALL", "C.UTF-8".into()),
        ]
    }
}

impl Drop for PrivateRabbit {
    fn drop(&mut self) {
        self.thaw();
        self.kill();
    }
}

/// Runs a program in another root (`$1`), with `$2` at the same place in it.
const ENTER: &str = r#"root=$1 temp=$2
shift 2
mkdir -p "$root$temp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$temp" "$root$temp"
exec chroot "$root" "$@""#;

/// Kills what is left of the node, and removes its folder.
const REMOVE: &str = r#"kill -KILL "$(cat "$1/pid")"
sleep 0.2
rm -rf "$1""#;

pub(super) fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("quebert-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn node_name(unique: &str) -> String {
    format!("{unique}@localhost")
}

/// A port that nothing listens on now. Taken from below the range that outgoing connections use, so that a client that
/// keeps connecting to a node that is down can't be given the node's own port, and meet itself.
///
/// # Errors
/// When none of some hundred is free.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..500 {
        let n = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(11));
        let port = u16::try_from(20_000 + n % 12_000).expect("below 32,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port between 20000 and 32000"))
}

fn wait_ready(pid_file: &Path, port: u16, wait: Command, log: &Path) -> io::Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    let listening = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    while !pid_file.exists() || !listening() {
        if Instant::now() > deadline {
            let text = fs::read_to_string(log).unwrap_or_default();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("the node did not come up: {text}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    run(wait, START_LIMIT).map(drop)
}
