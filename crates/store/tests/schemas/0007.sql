--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: attempts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attempts (
    execution text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    fence bigint NOT NULL,
    worker text NOT NULL COLLATE pg_catalog."C",
    leased_at bigint NOT NULL,
    started_at bigint,
    ended_at bigint,
    outcome text COLLATE pg_catalog."C",
    error text COLLATE pg_catalog."C",
    start text COLLATE pg_catalog."C",
    checkpoint bigint,
    wall_ms bigint DEFAULT 0 NOT NULL,
    cpu_us bigint DEFAULT 0 NOT NULL,
    memory_peak bigint DEFAULT 0 NOT NULL,
    start_us bigint DEFAULT 0 NOT NULL,
    wall text COLLATE pg_catalog."C"
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0');


--
-- Name: checkpoints; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.checkpoints (
    scope text NOT NULL COLLATE pg_catalog."C",
    body text COLLATE pg_catalog."C",
    version bigint NOT NULL,
    execution text NOT NULL COLLATE pg_catalog."C",
    fence bigint NOT NULL,
    updated_at bigint NOT NULL
);


--
-- Name: connect_sessions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.connect_sessions (
    token text NOT NULL COLLATE pg_catalog."C",
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    connection text NOT NULL COLLATE pg_catalog."C",
    settings text NOT NULL COLLATE pg_catalog."C",
    state text COLLATE pg_catalog."C",
    verifier bytea,
    expires_at bigint NOT NULL
);


--
-- Name: connections; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.connections (
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    credentials bytea NOT NULL,
    metadata text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    config text DEFAULT '{}'::text NOT NULL COLLATE pg_catalog."C",
    failure text COLLATE pg_catalog."C",
    renewer text COLLATE pg_catalog."C",
    renewing_until bigint DEFAULT 0 NOT NULL
);


--
-- Name: deployed; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.deployed (
    deployment text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: deployments; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.deployments (
    id text NOT NULL COLLATE pg_catalog."C",
    tenant text NOT NULL COLLATE pg_catalog."C",
    changes text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL
);


--
-- Name: executions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.executions (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    connection text COLLATE pg_catalog."C",
    trigger text NOT NULL COLLATE pg_catalog."C",
    retry_of text COLLATE pg_catalog."C",
    input text COLLATE pg_catalog."C",
    limits text NOT NULL COLLATE pg_catalog."C",
    retry text NOT NULL COLLATE pg_catalog."C",
    scope text NOT NULL COLLATE pg_catalog."C",
    exclusive text COLLATE pg_catalog."C",
    start_by bigint,
    created_at bigint NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    ready_at bigint NOT NULL,
    rank bigint NOT NULL,
    attempts bigint DEFAULT 0 NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    worker text COLLATE pg_catalog."C",
    leased_at bigint,
    charged_us bigint DEFAULT 0 NOT NULL,
    checkpoint_at_start bigint DEFAULT 0 NOT NULL,
    failures bigint DEFAULT 0 NOT NULL,
    stalls bigint DEFAULT 0 NOT NULL,
    losses bigint DEFAULT 0 NOT NULL,
    cancel_asked bigint DEFAULT 0 NOT NULL,
    started_at bigint,
    ended_at bigint,
    output text COLLATE pg_catalog."C",
    error text COLLATE pg_catalog."C",
    fault text COLLATE pg_catalog."C",
    wall_ms bigint DEFAULT 0 NOT NULL,
    cpu_us bigint DEFAULT 0 NOT NULL,
    memory_peak bigint DEFAULT 0 NOT NULL,
    start_us bigint DEFAULT 0 NOT NULL,
    place bigint DEFAULT 0 NOT NULL,
    gate text COLLATE pg_catalog."C",
    lane text COLLATE pg_catalog."C",
    passed text COLLATE pg_catalog."C",
    concurrency_key text COLLATE pg_catalog."C",
    concurrency_max bigint,
    cpu_units bigint DEFAULT 1 NOT NULL,
    memory_units bigint DEFAULT 8 NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000', autovacuum_analyze_scale_factor='0.02', autovacuum_vacuum_cost_delay='0');


--
-- Name: executions_seq_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.executions ALTER COLUMN seq ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.executions_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: gates; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.gates (
    tenant text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    running_max bigint,
    running bigint NOT NULL,
    paused bigint NOT NULL,
    is_set bigint NOT NULL
);


--
-- Name: idempotency; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.idempotency (
    scope text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    execution text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL
);


--
-- Name: integrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.integrations (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    settings text NOT NULL COLLATE pg_catalog."C",
    webhook_secret bytea,
    created_at bigint NOT NULL,
    client_secret bytea
);


--
-- Name: keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.keys (
    id text NOT NULL COLLATE pg_catalog."C",
    tenant text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    created_at bigint NOT NULL
);


--
-- Name: live; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.live (
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL COLLATE pg_catalog."C",
    since bigint NOT NULL
);


--
-- Name: locks; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.locks (
    tenant text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    execution text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL
);


--
-- Name: logs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.logs (
    execution text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    at bigint NOT NULL,
    attempt bigint NOT NULL,
    level text NOT NULL COLLATE pg_catalog."C",
    message text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.migrations (
    number bigint NOT NULL
);


--
-- Name: notification_targets; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.notification_targets (
    tenant text NOT NULL COLLATE pg_catalog."C",
    url text NOT NULL COLLATE pg_catalog."C",
    events text NOT NULL COLLATE pg_catalog."C",
    secret bytea NOT NULL
);


--
-- Name: notifications; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.notifications (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    event text NOT NULL COLLATE pg_catalog."C",
    body bytea NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    due_at bigint NOT NULL,
    failure text COLLATE pg_catalog."C",
    created_at bigint NOT NULL
);


--
-- Name: payloads; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.payloads (
    execution text NOT NULL COLLATE pg_catalog."C",
    what text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: record_runs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.record_runs (
    stream bigint NOT NULL,
    function text NOT NULL COLLATE pg_catalog."C",
    execution text NOT NULL COLLATE pg_catalog."C",
    began bigint NOT NULL,
    tracking bigint,
    keep_after bigint
);


--
-- Name: records; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.records (
    stream bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    hash bytea NOT NULL,
    cursor bigint NOT NULL,
    seen bigint NOT NULL,
    action text NOT NULL COLLATE pg_catalog."C",
    execution text NOT NULL COLLATE pg_catalog."C",
    first_seen_at bigint NOT NULL,
    modified_at bigint NOT NULL,
    deleted_at bigint
);


--
-- Name: schedules; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.schedules (
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    connection text NOT NULL COLLATE pg_catalog."C",
    frequency text NOT NULL COLLATE pg_catalog."C",
    anchor bigint NOT NULL,
    paused bigint NOT NULL,
    next_at bigint NOT NULL,
    last_at bigint,
    last_execution text COLLATE pg_catalog."C",
    last_error text COLLATE pg_catalog."C",
    jitter_ms bigint DEFAULT 0 NOT NULL,
    missed text DEFAULT 'catch_up'::text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: shares; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shares (
    tenant text NOT NULL COLLATE pg_catalog."C",
    weight bigint NOT NULL,
    running_max bigint NOT NULL,
    queued_max bigint NOT NULL,
    vtime_us bigint NOT NULL,
    queued bigint NOT NULL,
    waiting bigint NOT NULL,
    running bigint NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    gates bigint DEFAULT 0 NOT NULL,
    paused bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='20', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000', autovacuum_vacuum_cost_delay='0');


--
-- Name: streams; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.streams (
    id bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    connection text NOT NULL COLLATE pg_catalog."C",
    model text NOT NULL COLLATE pg_catalog."C",
    cursor bigint DEFAULT 0 NOT NULL,
    clock bigint DEFAULT 0 NOT NULL
);


--
-- Name: streams_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.streams ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.streams_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: sync_settings; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.sync_settings (
    tenant text NOT NULL COLLATE pg_catalog."C",
    integration text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    connection text NOT NULL COLLATE pg_catalog."C",
    frequency text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: tenants; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tenants (
    id text NOT NULL COLLATE pg_catalog."C",
    settings text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL
);


--
-- Name: timeline; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.timeline (
    execution text NOT NULL COLLATE pg_catalog."C",
    seq bigint NOT NULL,
    at bigint NOT NULL,
    what text NOT NULL COLLATE pg_catalog."C",
    attempt bigint NOT NULL,
    detail text NOT NULL COLLATE pg_catalog."C"
);


--
-- Name: variables; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.variables (
    tenant text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    value bytea NOT NULL
);


--
-- Name: versions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.versions (
    tenant text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    spec text NOT NULL COLLATE pg_catalog."C",
    bundle text NOT NULL COLLATE pg_catalog."C",
    source_map text COLLATE pg_catalog."C",
    created_at bigint NOT NULL
);


--
-- Name: virtual_clock; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.virtual_clock (
    id bigint NOT NULL,
    vtime_us bigint NOT NULL,
    CONSTRAINT virtual_clock_id_check CHECK ((id = 1))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500', autovacuum_vacuum_cost_delay='0');


--
-- Name: virtual_clock_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.virtual_clock ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.virtual_clock_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: worker_tokens; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.worker_tokens (
    id text NOT NULL COLLATE pg_catalog."C",
    label text NOT NULL COLLATE pg_catalog."C",
    digest bytea NOT NULL,
    created_at bigint NOT NULL
);


--
-- Name: workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.workers (
    id text NOT NULL COLLATE pg_catalog."C",
    expires_at bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');


--
-- Data for Name: attempts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.attempts VALUES ('exe_limited0', 1, 1, 'wrk_old', 1790000100000, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, NULL);
INSERT INTO public.attempts VALUES ('exe_keyed0', 1, 1, 'wrk_old', 1790000100000, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, NULL);


--
-- Data for Name: checkpoints; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: connect_sessions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: connections; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: deployed; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: deployments; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: executions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.executions VALUES (3, 'exe_limited2', 'acme', 'github', 'action', 'limited', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"limited"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_limited2', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 2, NULL, 'github/action/limited//', NULL, NULL, NULL, 1, 8);
INSERT INTO public.executions VALUES (6, 'exe_keyed2', 'acme', 'github', 'action', 'keyed', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"keyed"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_keyed2', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 2, NULL, 'github/action/keyed//account', NULL, 'account', 1, 1, 8);
INSERT INTO public.executions VALUES (1, 'exe_limited0', 'acme', 'github', 'action', 'limited', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"limited"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_limited0', NULL, NULL, 1790000100000, 'running', 1790000100000, 1790000100000, 1, 1, 'wrk_old', 1790000100000, 200000, 0, 0, 0, 0, 0, 1790000100000, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, 'f/github/action/limited', NULL, NULL, 1, 8);
INSERT INTO public.executions VALUES (4, 'exe_keyed0', 'acme', 'github', 'action', 'keyed', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"keyed"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_keyed0', NULL, NULL, 1790000100000, 'running', 1790000100000, 1790000100000, 1, 1, 'wrk_old', 1790000100000, 200000, 0, 0, 0, 0, 0, 1790000100000, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, 'k/account', 'account', 1, 1, 8);
INSERT INTO public.executions VALUES (2, 'exe_limited1', 'acme', 'github', 'action', 'limited', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"limited"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_limited1', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 1, 'f/github/action/limited', 'github/action/limited//', NULL, NULL, NULL, 1, 8);
INSERT INTO public.executions VALUES (5, 'exe_keyed1', 'acme', 'github', 'action', 'keyed', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"keyed"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_keyed1', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 1, 'k/account', 'github/action/keyed//account', NULL, 'account', 1, 1, 8);
INSERT INTO public.executions VALUES (7, 'exe_connection', 'acme', 'github', 'action', 'of-connection', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'c1', 'api', NULL, '{"name":"of-connection"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,1,8]', '[0,3000,600000,true]', 'exe_connection', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 1, 'c/github/c1', 'github/action/of-connection/c1/', NULL, NULL, NULL, 1, 8);
INSERT INTO public.executions VALUES (8, 'exe_large', 'acme', 'github', 'action', 'large', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', NULL, 'api', NULL, '{"name":"large"}', '[600000,90,null,256,64,256,16384,6291456,6291456,10485760,100000,64,3,8]', '[0,3000,600000,true]', 'exe_large', NULL, NULL, 1790000100000, 'queued', 1790000100000, 1790000100000, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, 3, 8);


--
-- Data for Name: gates; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.gates VALUES ('acme', 'f/github/action/limited', 1, 1, 0, 1);
INSERT INTO public.gates VALUES ('acme', 'k/account', 1, 1, 0, 0);
INSERT INTO public.gates VALUES ('acme', 'c/github/c1', NULL, 0, 1, 1);


--
-- Data for Name: idempotency; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: integrations; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: keys; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: live; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: locks; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: logs; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: migrations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.migrations VALUES (1);
INSERT INTO public.migrations VALUES (2);
INSERT INTO public.migrations VALUES (3);
INSERT INTO public.migrations VALUES (4);
INSERT INTO public.migrations VALUES (5);
INSERT INTO public.migrations VALUES (6);
INSERT INTO public.migrations VALUES (7);


--
-- Data for Name: notification_targets; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: notifications; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: payloads; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: record_runs; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: records; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: schedules; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.schedules VALUES ('acme', 'github', 'sync', 'tasks', 'c1', 'every 1h', 1790000100000, 1, 1790000100000, NULL, NULL, NULL, 20000, 'skip');


--
-- Data for Name: shares; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.shares VALUES ('acme', 1, 1000, 200000, 400000, 6, 0, 2, 5, 3, 0);


--
-- Data for Name: streams; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: sync_settings; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: tenants; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: timeline; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: variables; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: versions; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: virtual_clock; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.virtual_clock VALUES (1, 200000);


--
-- Data for Name: worker_tokens; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.worker_tokens VALUES ('rack1', 'rack 1', '\xabababababababababababababababababababababababababababababababab', 1790000100000);


--
-- Data for Name: workers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.workers VALUES ('wrk_old', 1790000115000);


--
-- Name: executions_seq_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.executions_seq_seq', 8, true);


--
-- Name: streams_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.streams_id_seq', 1, false);


--
-- Name: virtual_clock_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.virtual_clock_id_seq', 1, false);


--
-- Name: attempts attempts_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (execution, number);


--
-- Name: checkpoints checkpoints_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (scope);


--
-- Name: connect_sessions connect_sessions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.connect_sessions
    ADD CONSTRAINT connect_sessions_pkey PRIMARY KEY (token);


--
-- Name: connections connections_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.connections
    ADD CONSTRAINT connections_pkey PRIMARY KEY (tenant, integration, id);


--
-- Name: deployed deployed_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deployed
    ADD CONSTRAINT deployed_pkey PRIMARY KEY (deployment, integration, kind, name);


--
-- Name: deployments deployments_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_pkey PRIMARY KEY (id);


--
-- Name: executions executions_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.executions
    ADD CONSTRAINT executions_id_key UNIQUE (id);


--
-- Name: executions executions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.executions
    ADD CONSTRAINT executions_pkey PRIMARY KEY (seq);


--
-- Name: gates gates_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.gates
    ADD CONSTRAINT gates_pkey PRIMARY KEY (tenant, key);


--
-- Name: idempotency idempotency_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (scope, key);


--
-- Name: integrations integrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.integrations
    ADD CONSTRAINT integrations_pkey PRIMARY KEY (tenant, id);


--
-- Name: keys keys_digest_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_digest_key UNIQUE (digest);


--
-- Name: keys keys_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);


--
-- Name: live live_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.live
    ADD CONSTRAINT live_pkey PRIMARY KEY (tenant, integration, kind, name);


--
-- Name: locks locks_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.locks
    ADD CONSTRAINT locks_pkey PRIMARY KEY (tenant, key);


--
-- Name: logs logs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.logs
    ADD CONSTRAINT logs_pkey PRIMARY KEY (execution, seq);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);


--
-- Name: notification_targets notification_targets_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notification_targets
    ADD CONSTRAINT notification_targets_pkey PRIMARY KEY (tenant);


--
-- Name: notifications notifications_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (tenant, id);


--
-- Name: payloads payloads_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.payloads
    ADD CONSTRAINT payloads_pkey PRIMARY KEY (execution, what);


--
-- Name: record_runs record_runs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.record_runs
    ADD CONSTRAINT record_runs_pkey PRIMARY KEY (stream, function);


--
-- Name: records records_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_pkey PRIMARY KEY (stream, id);


--
-- Name: schedules schedules_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (tenant, integration, kind, name, connection);


--
-- Name: shares shares_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shares
    ADD CONSTRAINT shares_pkey PRIMARY KEY (tenant);


--
-- Name: streams streams_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (id);


--
-- Name: streams streams_tenant_integration_connection_model_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.streams
    ADD CONSTRAINT streams_tenant_integration_connection_model_key UNIQUE (tenant, integration, connection, model);


--
-- Name: sync_settings sync_settings_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sync_settings
    ADD CONSTRAINT sync_settings_pkey PRIMARY KEY (tenant, integration, name, connection);


--
-- Name: tenants tenants_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);


--
-- Name: timeline timeline_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.timeline
    ADD CONSTRAINT timeline_pkey PRIMARY KEY (execution, seq);


--
-- Name: variables variables_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.variables
    ADD CONSTRAINT variables_pkey PRIMARY KEY (tenant, name);


--
-- Name: versions versions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.versions
    ADD CONSTRAINT versions_pkey PRIMARY KEY (tenant, id);


--
-- Name: virtual_clock virtual_clock_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.virtual_clock
    ADD CONSTRAINT virtual_clock_pkey PRIMARY KEY (id);


--
-- Name: worker_tokens worker_tokens_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.worker_tokens
    ADD CONSTRAINT worker_tokens_pkey PRIMARY KEY (id);


--
-- Name: workers workers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);


--
-- Name: connect_sessions_by_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX connect_sessions_by_expiry ON public.connect_sessions USING btree (expires_at);


--
-- Name: connect_sessions_by_state; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX connect_sessions_by_state ON public.connect_sessions USING btree (state);


--
-- Name: connections_by_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX connections_by_id ON public.connections USING btree (tenant, id);


--
-- Name: deployments_by_tenant; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX deployments_by_tenant ON public.deployments USING btree (tenant, id);


--
-- Name: executions_behind; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_behind ON public.executions USING btree (tenant, lane, rank, seq) WHERE ((state = 'queued'::text) AND (place = 2));


--
-- Name: executions_by_function; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_by_function ON public.executions USING btree (tenant, name, id);


--
-- Name: executions_by_tenant; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_by_tenant ON public.executions USING btree (tenant, id);


--
-- Name: executions_exclusive; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX executions_exclusive ON public.executions USING btree (exclusive) WHERE ((exclusive IS NOT NULL) AND (state = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text])));


--
-- Name: executions_failed; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_failed ON public.executions USING btree (tenant, id) WHERE (state = 'failed'::text);


--
-- Name: executions_front; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_front ON public.executions USING btree (tenant, lane) WHERE ((state = 'queued'::text) AND (lane IS NOT NULL) AND (place < 2));


--
-- Name: executions_held; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_held ON public.executions USING btree (tenant, gate, rank, seq) WHERE ((state = 'queued'::text) AND (place = 1));


--
-- Name: executions_ready; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_ready ON public.executions USING btree (tenant, rank, seq) WHERE ((state = 'queued'::text) AND (place = 0));


--
-- Name: executions_retry_of; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_retry_of ON public.executions USING btree (retry_of) WHERE (retry_of IS NOT NULL);


--
-- Name: executions_running; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_running ON public.executions USING btree (worker) WHERE (state = 'running'::text);


--
-- Name: executions_start_by; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_start_by ON public.executions USING btree (start_by) WHERE ((state = 'queued'::text) AND (attempts = 0) AND (start_by IS NOT NULL));


--
-- Name: executions_waiting; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX executions_waiting ON public.executions USING btree (ready_at) WHERE (state = 'waiting'::text);


--
-- Name: idempotency_by_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX idempotency_by_expiry ON public.idempotency USING btree (expires_at);


--
-- Name: keys_by_tenant; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX keys_by_tenant ON public.keys USING btree (tenant, id);


--
-- Name: locks_by_execution; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX locks_by_execution ON public.locks USING btree (execution);


--
-- Name: notifications_by_age; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notifications_by_age ON public.notifications USING btree (created_at);


--
-- Name: notifications_by_state; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notifications_by_state ON public.notifications USING btree (tenant, state, id);


--
-- Name: notifications_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX notifications_due ON public.notifications USING btree (due_at) WHERE (state = 'waiting'::text);


--
-- Name: records_by_cursor; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX records_by_cursor ON public.records USING btree (stream, cursor);


--
-- Name: records_unseen; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX records_unseen ON public.records USING btree (stream, seen) WHERE (deleted_at IS NULL);


--
-- Name: schedules_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX schedules_due ON public.schedules USING btree (next_at) WHERE (paused = 0);


--
-- Name: shares_eligible; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shares_eligible ON public.shares USING btree (vtime_us, tenant) WHERE ((queued > held) AND (running < running_max) AND (paused = 0));


--
-- Name: shares_idle; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shares_idle ON public.shares USING btree (vtime_us, tenant) WHERE ((queued > held) AND (running = 0) AND (running_max > 0) AND (paused = 0));


--
-- Name: workers_by_expiry; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX workers_by_expiry ON public.workers USING btree (expires_at);


--
-- Name: connect_sessions connect_sessions_tenant_integration_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.connect_sessions
    ADD CONSTRAINT connect_sessions_tenant_integration_fkey FOREIGN KEY (tenant, integration) REFERENCES public.integrations(tenant, id) ON DELETE CASCADE;


--
-- Name: connections connections_tenant_integration_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.connections
    ADD CONSTRAINT connections_tenant_integration_fkey FOREIGN KEY (tenant, integration) REFERENCES public.integrations(tenant, id);


--
-- Name: deployed deployed_deployment_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deployed
    ADD CONSTRAINT deployed_deployment_fkey FOREIGN KEY (deployment) REFERENCES public.deployments(id);


--
-- Name: deployments deployments_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.deployments
    ADD CONSTRAINT deployments_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: integrations integrations_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.integrations
    ADD CONSTRAINT integrations_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: keys keys_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: live live_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.live
    ADD CONSTRAINT live_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: notification_targets notification_targets_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notification_targets
    ADD CONSTRAINT notification_targets_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: notifications notifications_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: record_runs record_runs_stream_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.record_runs
    ADD CONSTRAINT record_runs_stream_fkey FOREIGN KEY (stream) REFERENCES public.streams(id);


--
-- Name: records records_stream_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.records
    ADD CONSTRAINT records_stream_fkey FOREIGN KEY (stream) REFERENCES public.streams(id);


--
-- Name: sync_settings sync_settings_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.sync_settings
    ADD CONSTRAINT sync_settings_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: variables variables_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.variables
    ADD CONSTRAINT variables_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- Name: versions versions_tenant_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.versions
    ADD CONSTRAINT versions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(id);


--
-- PostgreSQL database dump complete
--


