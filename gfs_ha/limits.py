"""Every limit of the system, with its unit, and the relations that other code relies on."""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

SIZE_MAX = (1 << 63) - 1  # The most of any number of bytes that is stored or sent.
TIME_NS_MAX = (1 << 63) - 1  # Away from 1970, on both sides: the years 1678 to 2261, whole.

PROTOCOL_VERSION = 1
SCHEMA_VERSION = 1  # Of replicated commands; apply stops on one above the replicated setting.

# Names and paths (F1).
NAME_BYTES_MAX = 255
OWNER_BYTES_MAX = 255
PATH_BYTES_MAX = 4096
SERVER_NAME_BYTES_MAX = 64

# Chunks (section 1, C8, D1).
BLOCK_BYTES = 64 * KIB  # The grid of block CRCs.
SLOT_HEAD_BYTES = 64 * KIB  # Before the bytes of a replica, in its file on a chunkserver's disk.
CHUNK_BYTES_DEFAULT = 64 * MIB
CHUNK_BYTES_MIN = 1 * MIB
CHUNK_BYTES_MAX = 64 * MIB
GOAL_DEFAULT = 3
GOAL_MAX = 8
MIN_COPIES_DEFAULT = 2

# Placement, and the policies of directories (section 7).
PLACEMENT_RULES = ("seed", "spread", "hdfs")
PLACEMENT_RULE_DEFAULT = "seed"
POLICIES_MAX = 10_000

# Data plane (section 9).
PACKET_BYTES_MIN = 4 * KIB
PACKET_BYTES_DEFAULT = 512 * KIB
PACKET_BYTES_MAX = 1 * MIB
PROGRESS_PERIOD_S = 0.2
SILENCE_S = 1.0
WRITE_BACK_BYTES = 1 * MIB  # D5.
DATA_HEADER_BYTES_MAX = 4 * KIB
STREAMS_MAX = 512  # Bulk streams that one chunkserver serves at once.

# Tickets for data ports.
TICKET_LIFE_S = 300.0
TICKET_LATE_S = 30.0  # What was asked with a good one may take so long after its end.
TICKET_KEY_S = 600.0  # Then a chunkserver makes a new key.
TICKET_KEY_LATE_S = 60.0  # For so long a master may take one for the newest that is not any more.
TICKETS_PER_ANSWER_MAX = 4_096  # Some 25 ms of the leader's door; then they are asked for apart.

# Commands (F5).
FILES_PER_COMMAND_MAX = 250
EXTENTS_PER_COMMAND_MAX = 500  # Each is an extent row and a reference row.
ITEMS_PER_COMMAND_MAX = 250  # Of every other list in a command.
NAMES_PER_COMMAND_MAX = 25_000  # In all paths of a Publish; each is a look-up at apply.
ROWS_PER_COMMAND_MAX = 1500
COMMAND_BYTES_MAX = 1 * MIB
LIST_PAGE_DEFAULT = 1000
LIST_PAGE_MAX = 5000

# Sessions (S1, C11).
SESSION_WINDOW = 1024
SESSION_LIFE_MS = 24 * 3600 * 1000  # Of cluster time after the last request.
# One with a key lives longer: its appender uses it anew every hour, and whoever comes with the key
# within 24 h of the last record finds it.
KEYED_LIFE_MORE_MS = 2 * 3600 * 1000
SESSIONS_MAX = 100_000
CLAIMS_PER_SESSION_MAX = 250  # So that CloseSession is one bounded command.
CLAIM_SILENCE_S = 120.0
RENEW_PERIOD_S = 30.0

# RPyC door (M10).
FRAME_BYTES_MAX = 4 * MIB
CALLS_IN_FLIGHT_DEFAULT = 100
REQUESTS_PER_CALL_MAX = 256
CONNECTIONS_MAX = 2048
FRAME_DEADLINE_S = 10.0
HANDSHAKE_DEADLINE_S = 3.0
WRITE_STALL_S = 8.0  # Before the kernel gives up, which tells nobody (net/sockets.py).
OUTPUT_BYTES_MAX = 8 * MIB
HELLO_BYTES_MAX = 4 * KIB  # Of a frame before the peer has said who it is.
TLS_HANDSHAKE_BYTES_MAX = 32 * KIB  # Of a peer, with what it already says to us behind it.
TLS_HANDSHAKES_PER_TURN = 4  # Of strangers, 1 ms each; then who is known has its turn.
TRUST_LOOK_S = 1.0  # Between two questions whether there is news of who is trusted …
TRUST_JUDGE_S = 30.0  # … and between two judgements of all peers without any: they run out, too.
CALL_DEADLINE_MAX_S = 60.0
CONNECTION_IDLE_S = 600.0  # A door hangs up on a silent peer without calls in flight...
CHANNEL_IDLE_S = 60.0  # ...which a pooled channel does long before.
DOOR_BYTES_MAX = 256 * MIB  # Half frames, calls in flight and unsent answers of all peers.
CONNECT_TIMEOUT_S = 1.0
REQUEST_DEADLINE_S = 10.0
OPERATION_TIMEOUT_S = 30.0

# Raft (M3, M4, M7).
RAFT_PERIOD_S = 0.05
RAFT_TIMEOUT_MIN_S = 0.3
RAFT_TIMEOUT_MAX_S = 0.6
RAFT_RECONNECT_S = 0.2
RAFT_DIAL_PATIENCE_S = 1.0  # Then a member also dials one that should have dialled it.
RAFT_FRAME_BYTES_MAX = 16 * MIB
RAFT_BYTES_IN_FLIGHT_MAX = 8 * MIB
RAFT_LOG_IN_MEMORY_BYTES = 16 * MIB
RAFT_LOG_BYTES_MAX = 1 * GIB
RAFT_APPLY_PER_TICK_S = 0.020
RAFT_LINGER_S = 0.002  # Applied state waits so long for a commit to share.
RAFT_APPLY_DELAY_S = 0.01  # So long a follower gathers what is committed, to apply it together …
RAFT_APPLY_ENTRIES = 8  # … or until it is so much.
RAFT_APPLY_BYTES = 2 * KIB
RAFT_PROPOSALS_MAX = 10_000
RAFT_PROPOSAL_BYTES_MAX = 64 * MIB  # Of all proposals that are not applied yet.
RAFT_BATCH_BYTES = 256 * KIB  # Of one AppendEntries, unless one entry is bigger.
RAFT_BATCH_ENTRIES = 1024
RAFT_TICK_BYTES = 4 * MIB  # Of proposals that one tick takes into the log.
RAFT_LINK_QUEUE_BYTES = 32 * MIB  # A link that owes more than this is dropped.
RAFT_KEEPALIVE_S = 0.25
RAFT_IDLE_S = 1.5  # A link that is silent for longer is dropped.
RAFT_HANDSHAKE_S = 1.0
RAFT_INTRODUCTION_S = 0.7  # A member that starts waits so long for the others' first words.
RAFT_TRANSFER_LAG_MAX = 10_000  # Entries that a successor may lack when it is asked for.
RAFT_ADMISSION_LAG_MAX = 1_000  # Entries that a learner may lack when it becomes a voter.
RAFT_MEMBERS_MAX = 9
RAFT_OUTSIDERS_MAX = 8  # Links of members that are not in one's own configuration (yet).
RAFT_NAMES_MAX = 256  # Names whose starts a member remembers.
RAFT_SNAPSHOT_CHUNK_BYTES = 128 * KIB
RAFT_SNAPSHOT_CHUNK_S = 0.004  # Between two chunks: at most 32 MiB/s …
RAFT_SNAPSHOT_LOOP_SHARE = 0.25  # … and on a busy machine at most so much of the leader's time.
RAFT_SNAPSHOT_CHUNKS_IN_FLIGHT = 4
RAFT_SNAPSHOT_IDLE_S = 10.0  # A frozen store that nobody wants any more is dropped then.
RAFT_STARTS_MAX = 100_000  # Starts of its own that a member remembers (M5).
READ_LEASE_SHARE = 0.9
READ_REFRESH_S = 0.1  # A follower asks its leader at least so often: the age of an idle one.

# Disk space (M8).
SPACE_FREE_SHARE_MIN = 0.10
SPACE_FREE_BYTES_MIN = 1 * GIB
MAP_BYTES_DEFAULT = 64 * GIB

# Heartbeats and liveness (G1, G6).
SERVERS_MAX = 4096
DISKS_PER_SERVER_MAX = 64
FAILED_DISKS_MAX = 1_000  # That one request names and that are heeded.
LED_TERMS_MAX = 1000  # Terms that led, kept for people.
HEARTBEAT_PARK_S = 1.0
SUSPECT_S = 3.0
DEAD_S = 30.0
DEAD_MIN_S = 5.0  # Of the setting `dead_after_s`.
DEAD_MAX_S = 24 * 3600.0
ORDERS_PER_REPLY_MAX = 256
QUARANTINE_S = 7 * 24 * 3600.0

# Record append (C8, C10) and leases (G9).
RECORD_BYTES_MAX = 8 * MIB  # And at most a quarter of the chunk size.
APPEND_WINDOW = 1024  # Records of one appender that may be on their way.
BATCH_RECORDS_MAX = 1024  # Of one push of a primary.
TAIL_APPENDERS_MAX = 700  # Of one tail; then it is sealed and the next one opened.
TAIL_RESULTS_MAX = 4096  # Records of one tail that may still be asked about.
TAIL_RECORDS_MAX = 262_144  # Of one tail, with their entries on the disk.
APPENDERS_PER_FILE_MAX = 4096  # Whose results a file keeps.
TAIL_IDLE_S = 600.0  # Then it is sealed.
TAILS_PER_SERVER_MAX = 4096
LEASE_MS = 60_000
LEASE_RENEW_BELOW_MS = 30_000
LEASE_EVENTS_MAX = 1000
HOLD_MS = 10_000
# After a file was removed or replaced those who appended to it may ask for so long what became of
# their records; and of so many such files, the newest ones.
GONE_RESULTS_MS = 600_000
GONE_FILES_MAX = 1_000
HOLDS_MAX = 10_000  # Files and directories that are held at once.
COMMIT_NOTE_S = 0.010  # After which a primary tells the others of the last batch (C10).

# Repair (G3, G4).
SPARE_PLACES_MAX = 8  # Places of a chunk beyond its goal: copies on servers that stay away.
REPAIR_CLUSTER_BYTES_PER_S = 1 * GIB
REPAIR_SERVER_BYTES_PER_S = 100 * MIB
REPAIR_COPIES_PER_SERVER = 2
REPAIR_COPIES = 256
REPAIR_COPIES_MAX = 4096
REPAIR_FLOOR_PARTS = 8  # While clients suffer a server gives repair this part of its budget still.
REPAIR_ALLOWANCE_S = 2.0  # What a leader allowed a server lapses unless it says so again.

# How servers stand: labels, and maintenance, during which their chunks are not repaired.
LABELS_MAX = 32  # Of a server.
LABEL_BYTES_MAX = 63  # Of a key, and of a value.
MAINTENANCE_MS_MAX = 24 * 3600 * 1000
MAINTENANCE_MS_DEFAULT = 3600 * 1000

CAPACITY_BYTES_MIN = 64 * MIB  # Of a disk that a chunkserver may take.

# Jobs.
JOBS_RUNNING_MAX = 256  # That have not ended.
JOBS_KEPT = 200  # That have.
JOB_EVENTS_MAX = 100  # Of one job, the newest.
JOB_TEXT_BYTES_MAX = 500

# Events, and what leaders note to tell of each thing once.
EVENTS_KEPT = 10_000
EVENT_TEXT_BYTES_MAX = 400
EVENT_SUBJECT_BYTES_MAX = 128
EVENT_CHANGES_MAX = 64  # Of one command.
EVENT_NOTED_MAX = 4_096
EVENT_WINDOW_MS = 60_000  # In which one thing may tell
EVENTS_PER_WINDOW = 6  # so much; the rest is counted.
MUTES_MAX = 64
MUTE_MS_MAX = 30 * 24 * 3600 * 1000

# Garbage (G2, G8).
COMPACTION_RANGES_MAX = 256  # Of one chunk that are copied together.
MOVES_PER_COMMAND_MAX = 400  # Each is an extent row and two reference rows.
ORPHANS_MAX = 10_000  # Replicas without a chunk that are noted at once.

# Scrub (D3).
SCRUB_BYTES_PER_S = 32 * MIB  # Of each disk, at most.
SCRUB_BYTES_PER_S_MIN = 1 * MIB  # Of a round by schedule: small disks are done early.
SCRUB_PERIOD_S = 7 * 24 * 3600
SCRUB_PERIOD_MIN_S = 3600
SCRUB_PERIOD_MAX_S = 365 * 24 * 3600

assert CHUNK_BYTES_MIN % BLOCK_BYTES == 0 and CHUNK_BYTES_MAX % BLOCK_BYTES == 0
assert PACKET_BYTES_MAX % BLOCK_BYTES == 0 and PACKET_BYTES_DEFAULT % BLOCK_BYTES == 0
assert RAFT_TIMEOUT_MIN_S > 3 * RAFT_PERIOD_S, "PySyncObj counts a leader lost otherwise"
assert RAFT_TIMEOUT_MAX_S > RAFT_TIMEOUT_MIN_S
assert RAFT_IDLE_S > 3 * RAFT_KEEPALIVE_S
assert RAFT_INTRODUCTION_S < RAFT_HANDSHAKE_S <= RAFT_DIAL_PATIENCE_S
assert COMMAND_BYTES_MAX + RAFT_BATCH_BYTES < RAFT_FRAME_BYTES_MAX < RAFT_LINK_QUEUE_BYTES
assert RAFT_BYTES_IN_FLIGHT_MAX + RAFT_FRAME_BYTES_MAX < RAFT_LINK_QUEUE_BYTES
assert SILENCE_S > 3 * PROGRESS_PERIOD_S
assert RENEW_PERIOD_S * 3 < CLAIM_SILENCE_S
assert SUSPECT_S > 2 * HEARTBEAT_PARK_S
assert HEARTBEAT_PARK_S < REPAIR_ALLOWANCE_S, "it is repeated with every answer"
assert HEARTBEAT_PARK_S + REPAIR_ALLOWANCE_S <= SUSPECT_S, "who is suspect has no share"
assert SUSPECT_S < DEAD_MIN_S <= DEAD_S <= DEAD_MAX_S
assert COMMAND_BYTES_MAX < FRAME_BYTES_MAX < RAFT_FRAME_BYTES_MAX
assert CHANNEL_IDLE_S < CONNECTION_IDLE_S and REQUEST_DEADLINE_S < CALL_DEADLINE_MAX_S
assert HELLO_BYTES_MAX < TLS_HANDSHAKE_BYTES_MAX
assert HELLO_BYTES_MAX < FRAME_BYTES_MAX < OUTPUT_BYTES_MAX < DOOR_BYTES_MAX
assert 2 * TAIL_APPENDERS_MAX + 64 <= ROWS_PER_COMMAND_MAX, "a seal adds one, drops another"
assert MIN_COPIES_DEFAULT <= GOAL_DEFAULT <= GOAL_MAX
