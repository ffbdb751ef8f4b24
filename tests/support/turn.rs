//! A TURN server of another make (coturn), in another process, on this machine alone.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// From its start to its taking requests, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The running server; killed when dropped.
#[derive(Debug)]
pub struct Turn {
    child: Child,
    /// `host:port`, UDP and TCP.
    pub address: String,
    said: Arc<Mutex<String>>,
    _scratch: tempfile::TempDir,
}

impl Turn {
    /// The user it knows.
    pub const USER: &str = "relay-user";
    /// And the password, which must be seen nowhere.
    pub const PASSWORD: &str = "canary-password-81c7";

    /// Starts it on a free port.
    ///
    /// # Errors
    ///
    /// coturn is missing, or does not come up; what it said is in the error.
    pub fn start() -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let ip = own_address();
        let port = UdpSocket::bind((ip, 0))?.local_addr()?.port();
        let ip = ip.to_string();
        let file = |name: &str| scratch.path().join(name).display().to_string();
        let mut child = Command::new("turnserver")
            .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech"])
            .args(["--listening-ip", &ip, "--relay-ip", &ip])
            .args(["--listening-port", &port.to_string()])
            // Both peers are on this machine, which no server on the internet would relay to.
            .args(["--allow-loopback-peers", "--realm", "scope.test"])
            .args(["--user", &format!("{}:{}", Self::USER, Self::PASSWORD)])
            .args(["--userdb", &file("users"), "--pidfile", &file("pid")])
            .args(["--log-file", "stdout", "--simple-log", "--verbose"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("turnserver does not start: run `make setup`")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let said = Arc::<Mutex<String>>::default();
        let heard = said.clone();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap();
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        let server = Self {
            child,
            address: format!("{ip}:{port}"),
            said,
            _scratch: scratch,
        };
        server.wait(
            "a server that takes requests",
            "DB connection success",
            READY_WITHIN,
        )?;
        Ok(server)
    }

    /// As GStreamer writes it: `turn://user:password@host:port`.
    pub fn url(&self) -> String {
        format!("turn://{}:{}@{}", Self::USER, Self::PASSWORD, self.address)
    }

    /// As it stands in `controller.toml`.
    pub fn config(&self) -> String {
        format!(
            "[[ice_servers]]\nurls = [\"turn:{}?transport=udp\"]\nusername = \"{}\"\ncredential = \"{}\"\n",
            self.address,
            Self::USER,
            Self::PASSWORD
        )
    }

    /// Waits until it has relayed something to somebody.
    ///
    /// # Errors
    ///
    /// It has not; what it said is in the error.
    pub fn has_relayed(&self) -> Result<()> {
        self.wait(
            "a relayed packet",
            "ALLOCATE processed, success",
            READY_WITHIN,
        )?;
        // A peer gets through only where a permission was made for it.
        self.wait(
            "a peer",
            "CREATE_PERMISSION processed, success",
            READY_WITHIN,
        )
    }

    /// Everything it wrote so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn wait(&self, what: &str, word: &str, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        while !self.said().contains(word) {
            if Instant::now() > end {
                bail!(
                    "no {what} within {patience:?}; turnserver said:\n{}",
                    self.said()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This machine's own address, or loopback where it has no other: peers use nothing else either.
fn own_address() -> IpAddr {
    let outward = || {
        // Nothing is sent: this only asks which address would be used. 192.0.2.0/24 is for documentation.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(("192.0.2.1", 9))?;
        socket.local_addr()
    };
    outward().map_or(Ipv4Addr::LOCALHOST.into(), |address: SocketAddr| {
        address.ip()
    })
}
