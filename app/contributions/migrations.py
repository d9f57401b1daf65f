"""The ledger's table, as it came to be."""

from app.common.database import Migrations

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE contributions (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            run_id TEXT NOT NULL,
            session_id INTEGER,
            training_id TEXT,
            participant TEXT NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL NOT NULL,
            compute_time REAL NOT NULL,
            gradient_quality REAL NOT NULL,
            data_transmitted REAL NOT NULL,
            uptime_ratio REAL NOT NULL,
            samples_computed INTEGER NOT NULL,
            samples INTEGER NOT NULL,
            swarm_samples INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            epochs INTEGER NOT NULL,
            bytes_sent INTEGER NOT NULL,
            bytes_received INTEGER NOT NULL,
            energy REAL,
            score INTEGER NOT NULL,
            public_key TEXT NOT NULL,
            signature TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN
                ('open', 'waiting', 'sending', 'confirmed', 'refused', 'local')),
            attempts INTEGER NOT NULL DEFAULT 0,
            attempted_at REAL,
            due_at REAL NOT NULL DEFAULT 0,
            settled_at REAL,
            remark TEXT NOT NULL DEFAULT ''
        ) STRICT
        """,
        "CREATE INDEX contributions_state ON contributions (state, due_at)",
        "CREATE INDEX contributions_ended_at ON contributions (ended_at)",
    ),
    (
        # NULL until `Ledger.adopt`: earlier versions didn't write down which backend it was for.
        "ALTER TABLE contributions ADD COLUMN backend TEXT",
        # A backend's text was kept whole.
        "UPDATE contributions SET remark = substr(remark, 1, 500) WHERE length(remark) > 500",
    ),
    (
        "ALTER TABLE contributions ADD COLUMN forgotten_at REAL",
        "ALTER TABLE contributions ADD COLUMN refills INTEGER NOT NULL DEFAULT 0",
        """
        CREATE INDEX contributions_forgotten ON contributions (forgotten_at)
        WHERE forgotten_at IS NOT NULL
        """,
    ),
)
