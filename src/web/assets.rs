//! The files below `static`, held in the binary so that it runs alone, and served by tower-http's `ServeDir`.

use std::future::{Ready, ready};
use std::io::{self, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File, Metadata};

use crate::domain::key::hex;

const FILES: [(&str, &[u8]); 5] = [
    ("app.css", include_bytes!("../../static/app.css")),
    ("app.js", include_bytes!("../../static/app.js")),
    ("htmx.min.js", include_bytes!("../../static/htmx.min.js")),
    ("live.js", include_bytes!("../../static/live.js")),
    ("icon.svg", include_bytes!("../../static/icon.svg")),
];

/// The same as gzip, which `ServeDir` looks for as `name.gz`. Made when the first is asked for.
static PACKED: LazyLock<Vec<(String, Bytes)>> =
    LazyLock::new(|| FILES.iter().map(|(name, content)| (format!("{name}.gz"), gzip(content))).collect());

fn gzip(content: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory nothing fails.
    let _ = encoder.write_all(content);
    encoder.finish().unwrap_or_default().into()
}

pub(super) fn service() -> ServeDir<tower_http::services::fs::DefaultServeDirFallback, Embedded> {
    ServeDir::with_backend("", Embedded).precompressed_gzip().append_index_html_on_directories(false)
}

/// Changes whenever a file does; addresses of files carry it.
pub fn version() -> String {
    let mut digest = Sha256::new();
    for (name, content) in FILES {
        digest.update(name);
        digest.update(content);
    }
    hex(&digest.finalize()[..6])
}

fn find(path: &Path) -> io::Result<&'static [u8]> {
    // `ServeDir` asks for `./name`.
    let path = path.strip_prefix(".").unwrap_or(path);
    let mut found = FILES.iter().find(|(name, _)| Path::new(name) == path).map(|(_, content)| *content);
    if path.extension().is_some_and(|ending| ending == "gz") {
        found = PACKED.iter().find(|(name, _)| Path::new(name) == path).map(|(_, content)| &content[..]);
    }
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[derive(Clone, Copy)]
pub(super) struct Embedded;

impl Backend for Embedded {
    type File = Open;
    type Metadata = Size;
    type OpenFuture = Ready<io::Result<Open>>;
    type MetadataFuture = Ready<io::Result<Size>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        ready(find(&path).map(|content| Open(Cursor::new(content))))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(find(&path).map(|content| Size(content.len() as u64)))
    }
}

pub(super) struct Size(u64);

impl Metadata for Size {
    fn is_dir(&self) -> bool {
        false
    }

    /// The address carries the version, so that any date will do.
    fn modified(&self) -> io::Result<SystemTime> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn len(&self) -> u64 {
        self.0
    }
}

pub(super) struct Open(Cursor<&'static [u8]>);

impl File for Open {
    type Metadata = Size;
    type MetadataFuture<'a> = Ready<io::Result<Size>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(Size(self.0.get_ref().len() as u64)))
    }
}

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncSeek for Open {
    fn start_seek(mut self: Pin<&mut Self>, position: io::SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.0).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.0).poll_complete(context)
    }
}
