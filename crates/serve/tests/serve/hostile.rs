//! Those who would bring the server down, and those who ask beside them: it stays up, answers the others, and says why it refused.

use crate::lake::{limits, serve};
use crate::wire::{Failed, connect, message, startup, try_connect};
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use serve::Limits;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Works for hours.
const ENDLESS: &str = "SELECT sum(a.value * b.value) FROM range(10000000) a, range(10000000) b";

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_are_all_answered() {
    let served = serve(Limits { refresh_after: Duration::from_secs(60), ..limits() }).await;
    let address = served.pg;
    let clients = join_all((0..200u64).map(|number| async move {
        let mut client = connect(address).await;
        let sql = format!("SELECT count(*) + {number} FROM readings");
        assert_eq!(client.value(&sql).await, number.to_string());
        assert_eq!(client.rows("SELECT * FROM range(300)").await.len(), 300);
        client
    }))
    .await;
    let connections = [("door", "postgres")];
    assert_eq!(served.metric("aortica_serve_connections", &connections), 200.0);
    drop(clients);
    served.until("aortica_serve_connections", &connections, 0.0).await;
    assert_eq!(served.queries("done"), 400.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_keeps_nobody_waiting_and_is_cut_off() {
    // Fewer turns than slow readers.
    let slow_limits = Limits { queries: 2, stall_within: Duration::from_millis(500), ..limits() };
    let served = serve(slow_limits).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = connect(served.pg).await;
        client.send(&message(b'Q', b"SELECT * FROM range(1000000000)\0")).await;
        // The first row is there, so the answer is under way.
        assert_eq!(client.message().await.unwrap().0, b'T');
        slow.push(client);
    }
    let mut other = connect(served.pg).await;
    assert_eq!(other.value("SELECT sum(value) FROM range(101)").await, "5050");
    let silent = [("door", "postgres"), ("reason", "silence")];
    served.until("aortica_serve_refused_total", &silent, 8.0).await;
    served.until("aortica_serve_connections", &[("door", "postgres")], 1.0).await;
    assert_eq!(other.value("SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_client_was_killed_ends() {
    let served = serve(Limits { queries: 1, ..limits() }).await;
    for _ in 0..5 {
        let mut client = connect(served.pg).await;
        client.send(&message(b'Q', format!("{ENDLESS}\0").as_bytes())).await;
        drop(client);
    }
    served.until("aortica_serve_connections", &[("door", "postgres")], 0.0).await;
    // The only turn is free again.
    assert_eq!(connect(served.pg).await.value("SELECT 1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_wants_everything_is_refused_by_name() {
    let served = serve(limits()).await;
    let mut witness = connect(served.pg).await;
    let mut client = connect(served.pg).await;
    let sum = "1 + ".repeat(20_000);
    let memory = ["53200"];
    for (sql, codes) in [
        ("SELECT array_agg(a.value) FROM range(1000000) a, range(100000) b", &memory[..]),
        (
            "SELECT a.value, count(*) FROM range(100000) a, range(100000) b GROUP BY a.value * 100000 + b.value, a.value",
            &memory,
        ),
        ("SELECT a.value * b.value AS x FROM range(1000000) a, range(100000) b ORDER BY x", &memory),
        ("SELECT sum(value) OVER () FROM range(10000000000)", &memory),
        ("SELECT string_agg(repeat('x', 1000), '') FROM range(1000000000)", &memory),
        (
            "SELECT count(*) FROM (SELECT DISTINCT a.value * 1000003 + b.value FROM range(1000000) a, range(100000) b)",
            &memory,
        ),
        ("SELECT repeat('x', 100000000000)", &["42000"]),
        ("SELECT range(0, 100000000000)", &["42000"]),
        ("SELECT array_repeat(0, 100000000000)", &["42000"]),
        (&format!("SELECT {sum}1"), &["54000"]),
        (&format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000)), &["54000"]),
    ] {
        let refused: Failed = client.refused(sql).await;
        let shown = &sql[..sql.len().min(80)];
        assert!(codes.contains(&refused.code.as_str()), "{shown}: {refused:?}");
        assert_eq!(refused.severity, "ERROR", "{shown}: the connection lives on");
        assert_eq!(witness.value("SELECT 6 * 7").await, "42", "{shown}");
        assert_eq!(client.value("SELECT 6 * 7").await, "42", "{shown}");
    }
    assert_eq!(served.queries("memory"), 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_statement_that_is_taken_can_be_planned() {
    // The threads of a server have this stack; those of a test do not.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(serve::THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .unwrap();
    let deep = crate::lake::limits();
    let address = runtime.spawn(async move { serve_and_keep(deep).await }).await.unwrap();
    let mut client = connect(address).await;
    assert_eq!(client.value(&format!("SELECT {}1", "1 + ".repeat(990))).await, "991");
    let texts = client.value(&format!("SELECT length({}'x')", "'x' || ".repeat(990))).await;
    assert_eq!(texts, "991");
    let ors =
        client.value(&format!("SELECT count(*) FROM readings WHERE {}false", "age_years = 1 OR ".repeat(400))).await;
    assert_eq!(ors, "0");
    let unions = client.value(&format!("SELECT count(*) FROM (SELECT 1{})", " UNION ALL SELECT 1".repeat(200))).await;
    assert_eq!(unions, "201");
    let _ = client.ask(&format!("SELECT {}1{}", "(".repeat(900), ")".repeat(900))).await;
    let _ = client.ask(&format!("SELECT {}true", "NOT ".repeat(900))).await;
    assert_eq!(client.value("SELECT 1").await, "1");
    runtime.shutdown_background();
}

/// A served lake that lives as long as its runtime.
async fn serve_and_keep(limits: Limits) -> SocketAddr {
    let served = serve(limits).await;
    let address = served.pg;
    std::mem::forget(served);
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_connection_is_taken_the_next_is_told() {
    let served = serve(Limits { connections: 3, ..limits() }).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(connect(served.pg).await);
    }
    let refused = try_connect(served.pg).await.err().unwrap();
    assert_eq!((refused.severity.as_str(), refused.code.as_str()), ("FATAL", "53300"));
    assert!(refused.message.contains("all 3 connections"), "{}", refused.message);
    drop(kept.pop());
    served.until("aortica_serve_connections", &[("door", "postgres")], 2.0).await;
    connect(served.pg).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_let_go() {
    let served = serve(Limits {
        startup_within: Duration::from_millis(200),
        idle_within: Duration::from_millis(400),
        ..limits()
    })
    .await;
    let mut silent = TcpStream::connect(served.pg).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    let mut half = TcpStream::connect(served.pg).await.unwrap();
    half.write_all(&startup(&[("user", "anna")])[..12]).await.unwrap();
    let mut said = Vec::new();
    half.read_to_end(&mut said).await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("logging in took too long"));
    let reply = connect(served.pg).await.reply().await;
    assert_eq!(reply.failed.unwrap().code, "57P05");
    served.until("aortica_serve_refused_total", &[("door", "postgres"), ("reason", "silence")], 3.0).await;
}

/// A generator of bytes: xorshift64* (Vigna 2016). The seed is in the message of a failing test.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// The first bytes of a connection, wrong in one of several ways.
    fn packet(&mut self) -> Vec<u8> {
        let mut packet = startup(&[("user", "anna"), ("database", "lake"), ("application_name", "x")]);
        match self.below(10) {
            0 => {
                let length = self.below(64);
                packet = self.bytes(length);
            }
            1 => packet.truncate(self.below(packet.len())),
            2 => {
                for _ in 0..=self.below(8) {
                    let place = self.below(packet.len());
                    packet[place] = self.next() as u8;
                }
            }
            3 => packet[..4].copy_from_slice(&(self.next() as u32).to_be_bytes()),
            4 => packet[4..8].copy_from_slice(&(self.next() as u32).to_be_bytes()),
            5 => {
                // A length that fits and a code that is known, before noise.
                let code = [80_877_102u32, 80_877_103, 80_877_104, 196_608, 196_610, 131_072][self.below(6)];
                let length = self.below(300);
                let noise = self.bytes(length);
                packet = (8 + length as u32).to_be_bytes().to_vec();
                packet.extend(code.to_be_bytes());
                packet.extend(noise);
            }
            6 => {
                // Logged in, then noise.
                let length = self.below(200);
                packet.extend(self.bytes(length));
            }
            7 => {
                // Logged in, then messages of known types with wrong bodies.
                for _ in 0..=self.below(4) {
                    let kind = b"QPBDEHSCXpdcf"[self.below(13)];
                    let length = self.below(40);
                    packet.extend(message(kind, &self.bytes(length)));
                }
            }
            8 => {
                // Counts and lengths of a Bind that cannot be.
                packet.extend(message(b'P', b"\0SELECT $1\0\0\0"));
                let mut bind = b"\0\0".to_vec();
                bind.extend(self.bytes(12));
                packet.extend(message(b'B', &bind));
                packet.extend(message(b'E', &[&b"\0"[..], &self.bytes(4)].concat()));
                packet.extend(message(b'S', b""));
            }
            _ => packet = packet.repeat(1 + self.below(3)),
        }
        packet
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_startups_do_nothing() {
    const SEED: u64 = 0x00a0_57ca;
    let served = serve(Limits { connections: 400, refresh_after: Duration::from_secs(60), ..limits() }).await;
    let address = served.pg;
    let mut witness = connect(address).await;
    let mut random = Random(SEED);
    let packets: Vec<Vec<u8>> = (0..10_000).map(|_| random.packet()).collect();
    stream::iter(packets.into_iter().enumerate())
        .for_each_concurrent(32, |(number, packet)| async move {
            let mut stream =
                TcpStream::connect(address).await.unwrap_or_else(|e| panic!("packet {number} of {SEED:#x}: {e}"));
            // The server may close while it is being written to.
            let _ = stream.write_all(&packet).await;
            let _ = stream.shutdown().await;
            let mut said = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut said)).await;
            assert!(ended.is_ok(), "packet {number} of {SEED:#x} keeps its connection: {packet:?}");
        })
        .await;
    assert_eq!(witness.value("SELECT 1").await, "1");
    served.until("aortica_serve_connections", &[("door", "postgres")], 1.0).await;
    assert_eq!(served.metric("aortica_serve_refused_total", &[("door", "postgres"), ("reason", "internal")]), 0.0);
    assert!(served.metric("aortica_serve_refused_total", &[("door", "postgres"), ("reason", "protocol")]) > 1_000.0);
}
