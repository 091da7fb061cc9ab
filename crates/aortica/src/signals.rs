//! Ctrl-C and SIGTERM ask for a clean stop; a second one stops at once.

use crate::exit::EXIT_STOPPED;
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels. What is finished is kept; the process leaves by itself.
pub fn stop_on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        wait().await;
        eprintln!("stopping: what is finished is kept; press again to stop at once");
        cancel.cancel();
        wait().await;
        std::process::exit(i32::from(EXIT_STOPPED));
    });
    token
}

#[cfg(unix)]
async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be listened to");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn wait() {
    let _ = tokio::signal::ctrl_c().await;
}
