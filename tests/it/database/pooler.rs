//! Postgres behind `PgBouncer`, where both are installed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::cli::{Ended, patchbay, run};
use crate::support::closed_port;

struct Pooler(Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        // By runuser, which passes this signal on.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

async fn export(database: &str) -> Ended {
    let mut command = patchbay(&["export", "--proxy-url", "http://127.0.0.1:9"]);
    command.env("LITELLM_MASTER_KEY", "sk-1").env("PATCHBAY_DATABASE_URL", database);
    run(command).await
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_named_and_session_mode_works() {
    let Ok(server) = std::env::var("PATCHBAY_TEST_POSTGRES") else { return };
    if !std::path::Path::new("/usr/sbin/pgbouncer").exists() {
        eprintln!("SKIPPED: pgbouncer is not installed");
        return;
    }
    let name = format!("pooled_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
    let server: url::Url = server.parse().unwrap();
    for mode in ["transaction", "session"] {
        let address = closed_port().await;
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let ini = dir.path().join("pgbouncer.ini");
        let (port, user) = (server.port().unwrap(), server.username());
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={port} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n\
             ignore_startup_parameters = extra_float_digits\n",
            address.port()
        );
        std::fs::write(&ini, text).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        // It does not run as root, and neither does Postgres.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "/usr/sbin/pgbouncer"]).arg(&ini);
        let _pooler = Pooler(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let listens = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), listens).await.unwrap();
        let database = format!("postgres://{user}@{address}/{name}");
        export(&database).await;
        let ended = export(&database).await;
        let is_named =
            ended.err.contains("PATCHBAY_DATABASE_URL") && ended.err.contains("pool_mode = session");
        assert_eq!(is_named, mode == "transaction", "{mode}: {}", ended.err);
        assert_eq!(
            ended.err.contains("the proxy cannot be reached"),
            mode == "session",
            "{mode}: {}",
            ended.err
        );
    }
}
