//! Bodies: a large one goes to a file as it comes, a small one into memory; both within bounds of size and time.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::problem::Problem;
use crate::settings::Limits;
use crate::state::blocking;

/// Parts of a body that wait for the disk.
const PARTS: usize = 8;

/// A file that nobody else sees, and that goes when it is closed. It stands at its beginning; gzip as content encoding is undone.
pub(crate) async fn to_file(headers: &HeaderMap, body: Body, limits: &Limits, folder: Option<&Path>) -> Result<File, Problem> {
    let is_gzip = is_gzip(headers)?;
    refuse_announced(headers, limits.upload_bytes)?;
    let (sender, receiver) = mpsc::channel(PARTS);
    let (folder, most) = (folder.map(Path::to_owned), limits.inflated_bytes);
    let writer = tokio::spawn(blocking(move || write(receiver, folder.as_deref(), is_gzip, most)));
    let sent = send(body, sender, limits).await;
    let written = writer.await.map_err(|error| Problem::fault(&error))??;
    // A body that was cut short has no end for the writer either; the sender's fault is the cause.
    sent?;
    written
}

async fn send(mut body: Body, sender: mpsc::Sender<Bytes>, limits: &Limits) -> Result<(), Problem> {
    let until = Instant::now() + limits.upload_time;
    let mut bytes = 0_u64;
    loop {
        let next = timeout_at(until, timeout(limits.pause, body.frame())).await;
        let Ok(Ok(next)) = next else {
            return Err(Problem::too_slow(format!("After {bytes} bytes nothing came in time.")));
        };
        let Some(frame) = next else {
            return Ok(());
        };
        let frame =
            frame.map_err(|error| Problem::bad_request(format!("the body broke off after {bytes} bytes: {error}"), "Send it again."))?;
        let Ok(part) = frame.into_data() else { continue };
        bytes += part.len() as u64;
        if bytes > limits.upload_bytes {
            return Err(too_large(limits.upload_bytes));
        }
        if sender.send(part).await.is_err() {
            // The writer has stopped, and says why.
            return Ok(());
        }
    }
}

fn write(mut parts: mpsc::Receiver<Bytes>, folder: Option<&Path>, is_gzip: bool, most: u64) -> Result<File, Problem> {
    let file = match folder {
        Some(folder) => tempfile::tempfile_in(folder),
        None => tempfile::tempfile(),
    };
    let bounded = Bounded { file: file.map_err(|error| Problem::fault(&error))?, left: most };
    let finished = if is_gzip {
        let mut decoder = MultiGzDecoder::new(bounded);
        copy(&mut parts, &mut decoder).and_then(|()| decoder.finish())
    } else {
        let mut bounded = bounded;
        copy(&mut parts, &mut bounded).map(|()| bounded)
    };
    let mut file = finished.map_err(|error| said(&error, is_gzip, most))?.file;
    file.rewind().map_err(|error| Problem::fault(&error))?;
    Ok(file)
}

fn copy(parts: &mut mpsc::Receiver<Bytes>, to: &mut impl Write) -> io::Result<()> {
    while let Some(part) = parts.blocking_recv() {
        to.write_all(&part)?;
    }
    to.flush()
}

/// A file that takes so many bytes more.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.file.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn said(error: &io::Error, is_gzip: bool, most: u64) -> Problem {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Problem::too_large(
            format!("Inflated it has more than {most} bytes."),
            "Split the report, or raise the limit of inflated bodies.",
        ),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof if is_gzip => Problem::bad_request(
            format!("the body is no whole gzip stream: {error}"),
            "Compress it again, or send it as it is without Content-Encoding.",
        ),
        io::ErrorKind::StorageFull => Problem::busy("There is no room left for reports on the service's disk."),
        _ => Problem::fault(error),
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(other) => {
            let shown = String::from_utf8_lossy(&other[..other.len().min(40)]).into_owned();
            Err(Problem::unsupported(format!("Content-Encoding {shown:?} is not read here."), "Send it as it is, or with gzip."))
        }
    }
}

/// Refuses a body that says itself that it is too large, before any of it is read.
fn refuse_announced(headers: &HeaderMap, most: u64) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > most) { Err(too_large(most)) } else { Ok(()) }
}

fn too_large(most: u64) -> Problem {
    Problem::too_large(format!("It has more than {most} bytes."), "Compress it (Content-Encoding: gzip), split it, or raise the limit.")
}

/// A body in memory.
pub(crate) async fn to_memory(headers: &HeaderMap, body: Body, limits: &Limits, most: usize) -> Result<Vec<u8>, Problem> {
    if is_gzip(headers)? {
        return Err(Problem::unsupported("This body is not taken compressed.", "Send it as it is."));
    }
    refuse_announced(headers, most as u64)?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(PARTS);
    let bounded = Limits { upload_bytes: most as u64, ..limits.clone() };
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(part) = receiver.recv().await {
            bytes.extend_from_slice(&part);
        }
        bytes
    };
    let (sent, bytes) = tokio::join!(send(body, sender, &bounded), collect);
    sent.map(|()| bytes)
}
