BEGIN TRANSACTION;
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
        ;
INSERT INTO "contributions" VALUES(1,'00000000-0000-4000-8000-000000000001','docs',7,'7c9e6679-7425-40de-944b-e07fc1f90ae7','QmNb',1795521660.0,1795521720.0,41.125,98.75,1536.25,96.5,800,790,7900,101120,2,1536250,1600000,NULL,291,'','','confirmed',1,1795521800.0,0.0,1795521801.0,'http');
INSERT INTO "contributions" VALUES(2,'00000000-0000-4000-8000-000000000002','docs',7,'7c9e6679-7425-40de-944b-e07fc1f90ae7','QmNb',1795521720.0,1795521780.0,41.125,98.75,1536.25,96.5,800,790,7900,101120,2,1536250,1600000,2412.5,291,'','','waiting',0,NULL,0.0,NULL,'');
INSERT INTO "contributions" VALUES(3,'00000000-0000-4000-8000-000000000003','docs',7,'7c9e6679-7425-40de-944b-e07fc1f90ae7','QmNb',1795521780.0,1795521840.0,41.125,98.75,1536.25,96.5,800,790,7900,101120,2,1536250,1600000,2412.5,291,'','','open',0,NULL,0.0,NULL,'');
CREATE INDEX contributions_state ON contributions (state, due_at);
CREATE INDEX contributions_ended_at ON contributions (ended_at);
COMMIT;
PRAGMA user_version = 1;
