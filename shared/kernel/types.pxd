"""The kernel's table of contents: every structure of the hot path, who owns it and how long it lives.

Ownership: the Core owns everything. A Conn is created by ``attach`` and lives until its closed event has
been handed to Python; a Sub lives in its Conn's sid table and in one Node (or Group) of the account's
sublist; a Plan is a cache entry that only points at Subs and Conns and is never used once its account's
generation has moved on. What crosses between accounts (StreamImport, Service, Mapping) belongs to the account that
imports; a Shadow to its subscription, a Reply to the account that was asked. One thread uses all of it.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Kind:  # who is at the other end
    CLIENT = 0
    LEAF = 2
    SYSTEM = 3  # the server itself: internal subscriptions

cdef enum Flag:  # of a Conn
    CONNECTED = 1 << 0  # CONNECT was accepted (or none is needed and another verb came first)
    MUST_AUTH = 1 << 1  # the first verb has to be CONNECT
    VERBOSE = 1 << 2
    PEDANTIC = 1 << 3
    ECHO = 1 << 4
    HEADERS = 1 << 5
    NO_RESPONDERS = 1 << 6
    WAITING = 1 << 7  # Python decides something; parsing stands still
    STALLED = 1 << 8  # a publisher held back until its receiver has drained
    ARMED = 1 << 9  # the socket was full; EPOLLOUT tells when it is not
    CLOSING = 1 << 10  # no more reading, no more deliveries
    DIRTY = 1 << 11  # in the list of connections to flush
    SPOKE = 1 << 12  # leaf link on which the peer is the hub
    ISOLATED = 1 << 13  # leaf link that is not told of other leafs' interest
    LINKED = 1 << 14  # leaf link whose handshake is over: interest is exchanged
    FIRST_PING = 1 << 15  # the first PING has been answered
    TRACE = 1 << 16
    TRACK_REPLIES = 1 << 17  # allow_responses
    STAND_IN = 1 << 18  # configured for whoever shows nothing: another first verb counts as CONNECT
    MAY_AGREE = 1 << 19  # one INFO may come before CONNECT: to agree on compression

cdef enum CloseReason:  # why a connection was closed; numbers shared with reasons.py (a test compares)
    CLIENT_CLOSED = 1
    AUTHENTICATION_TIMEOUT = 2
    AUTHENTICATION_VIOLATION = 3
    SLOW_CONSUMER_PENDING = 5
    SLOW_CONSUMER_DEADLINE = 6
    WRITE_ERROR = 7
    READ_ERROR = 8
    PARSE_ERROR = 9
    STALE = 10
    PROTOCOL_VIOLATION = 11
    MAX_PAYLOAD = 15
    MAX_CONTROL_LINE = 16
    SERVER_SHUTDOWN = 20

cdef enum EventType:  # what Python is told
    EV_CONNECT = 1
    EV_INFO = 2
    EV_ERR = 3
    EV_LOOP = 4
    EV_ERRORED = 5
    EV_TRACE_IN = 6
    EV_TRACE_OUT = 7
    EV_TRACE_PAYLOAD = 8
    EV_SERVED = 9  # a request to a service whose latency is measured is over

cdef enum ReplyKind:  # how many replies a request to a service gets; numbers shared with crossing.py
    SINGLETON = 0
    STREAMED = 1
    CHUNKED = 2

cdef enum Served:  # how a measured request ended; the numbers that its event shows
    SERVED = 200
    BAD_REQUEST = 400
    INTEREST_LOST = 408
    UNAVAILABLE = 503
    TIMED_OUT = 504

# takes a message for a subscription of the server itself; False: it goes to Python like any other. It must not deliver
# anything itself: the plan that is being carried out may lie in the scratch buffer.
ctypedef bint (*sink_fn)(void* context, Core* k, Conn* src, Msg* m) noexcept nogil
ctypedef void (*work_fn)(void* context, Core* k) noexcept nogil
# carries a message into another account; the number of receivers there (service.pyx)
ctypedef uint32_t (*cross_fn)(Core* k, Conn* src, Msg* m, Service* service) noexcept nogil

cdef struct Chunk:  # a piece of an out-buffer
    Chunk* next
    uint32_t start
    uint32_t end
    uint32_t cap

cdef struct Node:  # one token of the sublist's trie
    Node* parent
    Node** children  # open addressing by token hash
    uint32_t child_cap
    uint32_t child_count
    Node* pwc  # *
    Node* fwc  # >
    Sub** subs  # plain subscriptions, any order
    uint32_t nsubs
    uint32_t sub_cap
    uint32_t nlocal  # of them, not from a leaf link
    Group* groups  # newest first
    Group** group_table  # by name, from the FEW_GROUPS-th on
    uint32_t group_cap
    uint32_t group_count
    uint32_t hash
    uint16_t token_len
    char token[1]

cdef struct Group:  # members of one queue group on one Node
    Group* next
    Group** at  # what points at this one in the list
    Group* chain  # in the Node's table
    uint32_t hash
    Sub** members
    uint32_t count
    uint32_t cap
    uint32_t nlocal
    uint16_t name_len
    char name[1]

cdef struct Sublist:
    Node root
    uint64_t count
    uint64_t seed

cdef struct Sub:
    Conn* conn
    Node* node
    Group* group  # NULL: plain
    Sub* next_sid  # chain in the connection's sid table
    uint64_t max  # 0: no limit
    uint64_t delivered
    Shadow* shadows  # in accounts whose streams are imported; of a stand-in: its own
    Service* service  # of a subscription that leads into another account
    uint32_t index  # in node.subs or group.members
    uint32_t weight  # queue members behind a leaf link; 1 for a client
    uint32_t callback  # of a SYSTEM subscription
    sink_fn sink  # likewise: asked first; NULL: none
    void* sink_context
    uint32_t sid_hash
    uint16_t sid_len
    uint8_t filtered  # its wildcard overlaps a denied subject: look at each subject
    uint8_t gone  # max reached, waiting to be removed; or a mark that only links are told of
    uint8_t stands_in  # in an exporter's sublist, for a subscription of an importing account
    char sid[1]

cdef struct Step:  # what one or more tokens of a new subject are made of
    uint8_t what
    uint16_t ntokens
    uint16_t text_len
    uint32_t number
    uint16_t* tokens  # positions in the subject it is made from
    char* text

cdef struct Transform:  # from one subject to another (transform.pyx)
    uint32_t nsteps
    uint8_t random  # not always the same
    Step steps[1]

cdef struct StreamImport:  # a stream of another account, in the list of the importing one
    StreamImport* next
    AccountState* exporter
    Transform* forth  # from the exporter's subject to the local one; NULL: see same
    Transform* back  # from a local pattern to the exporter's
    uint8_t same  # the local subject is the exporter's; otherwise without forth it is `to`
    uint8_t stale  # scratch while a new list replaces the old one
    uint16_t from_len
    uint16_t to_len
    uint16_t spelling_len
    char text[1]  # from, to: patterns; to as it was written

cdef struct Shadow:  # a subscription's stand-in where a stream comes from
    Shadow* next  # of the same subscription
    Sub* main
    Sub* sub
    AccountState* account
    StreamImport* via

cdef struct Service:  # a service of another account, or (exporter NULL) where replies to this one's services come in
    Service* next
    AccountState* account  # in whose sublist it is
    AccountState* exporter
    Transform* forth  # from the local subject to the exporter's; NULL: see same
    Sub* sub
    uint64_t threshold_ns
    uint32_t export_id  # of the exporter's declaration; 0: unknown
    int32_t sampling  # percent of the requests that are measured, 0 those whose headers ask for it, -1 none
    uint8_t same  # the exporter's subject is the published one; otherwise without forth it is `to`
    uint8_t share  # the exporter learns who asks
    uint8_t reply_kind
    uint8_t to_system  # the exporter learns which server asks
    uint16_t from_len
    uint16_t to_len
    uint16_t spelling_len
    char text[1]  # from, to; to as it was written

cdef struct Reply:  # where the answers to one request go (replies.pyx)
    Reply* chain  # by its subject, in the exporter's account
    Reply* same  # by the requester's own reply subject, in the requester's account
    Reply* older  # in the exporter's account, by age
    Reply* newer
    AccountState* account
    AccountState* requester
    uint64_t cid  # who asked
    uint64_t start_ns
    uint64_t expires_ns
    uint64_t threshold_ns
    uint32_t hash
    uint32_t to_hash
    uint32_t export_id
    uint8_t reply_kind
    uint8_t measured
    uint8_t share
    uint8_t in_use  # an answer is on its way: nobody else may remove it
    uint16_t length
    uint16_t to_len
    uint32_t header_len  # of the headers that had it measured
    char text[1]  # its subject, the requester's, headers

cdef struct Destination:
    Transform* forth  # NULL: the subject stays
    uint32_t below  # taken if a random number of 100 is below this one

cdef struct Mapping:  # published subjects that become others (mapping.pyx)
    Mapping* next
    Sub* mark  # for which links are told of the source
    Destination* destinations
    uint32_t ndestinations
    uint8_t wild
    uint16_t length
    char source[1]

cdef struct Mapped:  # one outcome that is always the same
    uint32_t hash
    uint8_t unchanged
    uint16_t length
    uint16_t to_len
    char text[1]  # source, destination

cdef struct Pattern:  # one entry of a permission list, kept for overlap questions
    Pattern* next
    uint16_t length
    char text[1]

cdef struct Permits:  # what one user may do; shared by the connections of that user
    Sublist pub_allow
    Sublist pub_deny
    Sublist sub_allow
    Sublist sub_deny
    Pattern* pub_allow_patterns
    Pattern* sub_deny_patterns
    uint8_t has_pub_allow
    uint8_t has_pub_deny
    uint8_t has_sub_allow
    uint8_t has_sub_deny
    uint32_t id  # never reused while a plan may remember it
    int64_t response_max  # 0: no tracked replies; negative: unlimited
    int64_t response_ttl_ns  # negative: no end

cdef struct Response:  # a reply subject that a responder may publish to
    Response* next
    uint64_t expires_ns  # 0: never
    int64_t left  # negative: unlimited
    uint32_t hash
    uint16_t length
    char subject[1]

cdef struct Tls:  # of a connection after the handshake; the SSL object belongs to the Python Connection
    void* ssl
    void* into  # memory BIO: what the socket brought and OpenSSL has not taken
    void* out_of  # memory BIO: what the socket has not taken
    size_t sealed  # bytes in out_of
    size_t carried  # plaintext in them that still counts as pending
    uint32_t end  # a CloseReason: nothing more will be read; 0: it may
    uint8_t held  # something came behind the handshake and has not been opened yet
    uint8_t broken  # nothing can be sealed any more
    uint8_t grown  # a BIO has become large

cdef struct Pack:  # of a link whose ends have agreed on compression (compress.pyx)
    uint8_t level  # 0 to 3
    uint8_t nlimits  # 0: the level stays; else it follows the round trip
    uint8_t begun  # our stream's identifier was sent
    uint8_t known  # the peer's has come
    uint8_t snappy  # and says Snappy
    uint8_t broken  # nothing can be sent any more
    uint8_t queued  # in the list of those with more to unpack
    uint64_t limits[4]
    size_t plain_first  # bytes of the Chunks that go out before our stream begins
    char* left  # compressed, and not taken by the socket
    size_t left_at
    size_t left_len
    size_t carried  # plain bytes in it that still count as pending
    char* raw  # read and not unpacked
    size_t raw_len
    size_t raw_cap
    size_t skip  # bytes of a chunk that nobody reads
    char* base  # while unpacking: what may be written to begins here,
    char* at  # what is not unpacked here
    char* end
    Conn* next  # in that list

cdef struct Identity:  # JSON in pieces, between which the service's account and the round trip come
    uint32_t head_len  # up to the account
    uint32_t middle_len
    uint32_t server_len  # also given where the rest is not
    uint32_t tail_len
    char text[1]

cdef struct Conn:
    int fd  # -1: no socket, bytes are handed in and taken out (tests)
    uint32_t epoll_events  # what the socket is registered for; 0: not at all
    uint8_t kind
    uint8_t scheduled  # in the doomed list
    uint8_t reaped  # its subscriptions are gone, only output is left
    uint32_t flags
    uint64_t cid
    AccountState* account
    Permits* permits
    void* owner  # the Python Connection, borrowed; it outlives this structure's use
    Tls* tls  # NULL: plain
    Pack* pack  # NULL: not compressed
    Conn* prev
    Conn* next
    # input that could not be parsed yet
    char* buf
    size_t buf_len
    size_t buf_cap
    size_t need  # do not parse before this many bytes are there
    # output
    Chunk* out_head
    Chunk* out_tail
    size_t pending
    uint64_t blocked_ns  # since when the socket has been full
    size_t blocked_left  # bytes of the batch that was waiting then
    # subscriptions
    Sub** sids
    uint32_t sid_cap
    uint32_t sub_count
    uint32_t max_subs  # 0xFFFFFFFF: no limit
    uint32_t max_payload
    uint32_t peer_max_payload  # of a leaf's hub: larger messages stay here; 0: unknown
    uint8_t oversize_noted
    Identity* identity  # who it is, for services; NULL: the account has to do
    Conn* stall_for  # the receiver that this publisher waits for
    # the plan of the last publish, checked by subject and generation before use
    Plan* last_plan
    uint64_t last_epoch  # account.plan_epoch when it was found
    # leaf
    uint32_t origin  # interned cluster name, 0: none
    uint32_t link_index  # scratch of plan building
    uint64_t link_stamp
    uint64_t serial  # creation order within the kernel
    # allow_responses
    Response** responses
    uint32_t response_count
    # what the server says after the first PONG
    char* first_info
    uint32_t first_info_len
    # timers and counters
    uint64_t start_ns
    uint64_t last_ns  # last message or PING
    uint64_t last_in_ns
    uint64_t deadline_ns  # CONNECT has to be there by then; 0: none
    uint64_t ping_due_ns
    uint64_t ping_interval_ns  # of this connection; 0: the kernel's
    uint64_t ping_sent_ns
    uint64_t rtt_ns
    uint64_t estimate_ns  # from the start to CONNECT: nats-server's first guess at the round trip
    uint32_t pings_out
    uint32_t reason
    uint32_t stalls
    uint64_t in_msgs
    uint64_t in_bytes
    uint64_t out_msgs
    uint64_t out_bytes
    # bytes of the protocol, of what compression makes of it, and of what the socket carries: with TLS that is more
    uint64_t in_plain
    uint64_t in_packed
    uint64_t in_socket
    uint64_t out_plain
    uint64_t out_packed
    uint64_t out_socket
    Conn* next_doomed

cdef struct Target:  # one receiver in a plan
    Sub* sub
    Conn* conn
    uint32_t head  # offset of "HMSG subject sid " in the plan's text; "MSG ..." starts one byte later
    uint32_t head_len
    Shadow* shadow  # the subscription is in an account that imports this subject; NULL: in this one

cdef struct LinkTarget:  # one leaf link in a plan
    Conn* conn
    uint8_t plain  # it has plain interest; otherwise only queue groups
    int32_t first_pick  # scratch while a message is delivered
    uint32_t head  # "LMSG subject " in text
    uint32_t head_len
    int32_t further  # the same link for another import
    StreamImport* via  # the link is one of an account that imports this subject

cdef struct Member:  # queue members behind a leaf link
    uint32_t link  # index into the plan's links
    uint32_t weight
    Sub* sub

cdef struct PlanGroup:  # one queue group name, gathered over all matching subjects
    Group* name_from  # any of its Groups: holds the name
    uint32_t local_start  # Targets of local members, in the plan's array
    uint32_t local_count
    uint32_t remote_start
    uint32_t remote_count
    uint64_t remote_weight

cdef struct Plan:  # who gets a message on this subject, and in which form
    Plan* chain
    uint64_t generation
    uint32_t hash
    uint16_t subject_len
    uint32_t ntargets  # plain receivers; behind them in the array those of other accounts, then group members
    uint32_t nforeign
    uint32_t link_head_len
    uint32_t nlinks
    uint32_t ngroups
    uint8_t kept  # in the cache
    Target* targets
    LinkTarget* links
    PlanGroup* groups
    Member* members
    char* text
    size_t size  # bytes of the whole
    uint32_t permit_id[2]  # what two permission sets said of publishing here
    uint8_t permit_ok[2]
    uint8_t permit_next
    char subject[1]

cdef struct AccountState:
    Sublist subs
    Plan** plans
    uint32_t plan_cap
    uint32_t plan_count
    size_t plan_bytes
    uint64_t generation
    uint64_t plan_epoch  # moves on whenever a Plan is freed: remembered pointers are void
    uint32_t sweep_hand
    Conn** links  # leaf links whose handshake is over
    uint32_t nlinks
    uint32_t link_cap
    uint8_t is_system
    # what crosses into and out of this account
    StreamImport* streams
    Service* services
    Conn* crossing  # owner of the subscriptions that lead out; NULL: there are none
    Service* answers  # where replies come in; NULL: no request has come yet
    char reply_prefix[16]  # "_R_.abcdef."
    Reply** replies
    uint32_t reply_cap
    uint32_t reply_count
    Reply* oldest
    Reply* newest
    uint64_t replies_due_ns
    Reply** waiting  # of this account's requests, by their own reply subject
    uint32_t waiting_cap
    uint32_t waiting_count
    uint8_t lost_interest  # a wildcard subscription has ended: look which requests nobody waits for
    uint64_t shadows  # stand-ins in this account's sublist
    Mapping* mappings
    Mapped** mapped
    char* json  # its name as JSON text, for Nats-Request-Info
    uint32_t json_len
    AccountState* next
    char* lds  # this server's loop detection subject in this account
    uint32_t lds_len
    uint32_t index
    uint64_t matches
    uint64_t cache_hits
    uint64_t inserts
    uint64_t removes

cdef struct Msg:  # a message on its way through, pointing into the input
    const char* subject
    const char* reply
    const char* body  # header block and payload
    const char* tail  # "[reply ]sizes CRLF body CRLF" as it arrived, if it can be passed on; or NULL
    const char* sizes  # "[header ]total" as the publisher wrote it
    const char* queues  # names in LMSG, separated by single blanks
    const char* deliver_subject  # subject for clients when a JetStream delivery names it; or NULL
    uint32_t subject_len
    uint32_t reply_len
    uint32_t client_reply_len  # without the subject that a JetStream delivery appends
    uint32_t header_len
    uint32_t size  # header_len included
    uint32_t tail_len
    uint32_t sizes_len
    uint32_t queues_len
    uint32_t deliver_subject_len
    char sizes_text[24]  # room for sizes that have to be written anew
    uint8_t has_header  # HPUB or HMSG, even with header_len 0
    uint8_t has_queues
    uint8_t any_queue  # from a link, but for queue groups that it does not name as well
    Crossing* crossing  # the message is in another account than it was published to

cdef struct Crossing:  # a message on its way through a service import, or an answer on its way back
    Crossing* outer
    Service* service  # NULL: an answer
    uint32_t depth
    uint32_t export_id
    uint8_t share  # of the import
    uint8_t detailed  # the exporters learn who asked
    uint8_t with_server  # and through which server

cdef struct Event:
    uint8_t type
    Conn* conn
    char* data
    size_t length

cdef struct Inbox:  # a message for the server itself
    uint32_t callback
    char* data  # subject, reply, body one after the other
    uint32_t subject_len
    uint32_t reply_len
    uint32_t header_len
    uint32_t size
    uint64_t cid  # of the connection that published it; 0: the server itself

cdef struct Token:
    const char* text
    uint32_t hash
    uint16_t length

cdef struct Core:
    int epoll_fd
    int timer_fd
    uint64_t now_ns
    uint64_t due_ns  # when the next sweep has something to do; 0: never
    uint64_t seed
    uint64_t random
    uint64_t serial
    uint64_t build_stamp
    Conn* conns  # all, newest first
    uint64_t nconns
    Conn* closed  # to be reported to Python, then freed
    Conn* doomed  # closing; subscriptions removed and descriptor closed at the end of the tick
    Conn internal  # kind SYSTEM: owner of the server's own subscriptions
    # lists that a tick fills and empties
    Conn** dirty
    uint32_t ndirty
    uint32_t dirty_cap
    Event* events
    uint32_t nevents
    uint32_t event_cap
    Inbox* inbox
    uint32_t ninbox
    uint32_t inbox_cap
    size_t inbox_bytes
    uint64_t inbox_serial  # moves on whenever Python takes what is in it
    Sub** expired
    uint32_t nexpired
    uint32_t expired_cap
    Conn** stalled
    uint32_t nstalled
    uint32_t stalled_cap
    Conn* stall_on  # receiver that is too far behind, found while delivering
    work_fn work  # called at the end of each round, before what was written is flushed; NULL: nobody
    work_fn say  # called between two operations after ``say_soon``: what has been answered goes out; NULL: nobody
    void* work_context
    uint8_t working
    uint8_t say_soon
    uint8_t unheard  # a sink took a message that was for nobody: it does not count as delivered
    AccountState* accounts  # all
    cross_fn cross
    Service** crossings  # met while a plan was carried out; they follow when it is done
    uint32_t ncrossings
    uint32_t crossing_cap
    uint64_t reply_random
    char server_mark[8]  # in reply subjects that are measured
    char* system_tail  # JSON: which server this is, for the system account
    uint32_t system_tail_len
    # scratch
    char* local_buf  # the local subject of what is imported, or the exporter's of a request
    char* mapped_buf  # what a publisher's subject was mapped to
    char* made_buf  # what an exporter's was
    Token* tokens
    Node** matched
    uint32_t nmatched
    uint32_t matched_cap
    Node** plan_nodes
    uint32_t plan_node_cap
    char* plan_buf  # a plan that is used once is built here and not kept
    uint32_t plan_buf_cap
    uint16_t* seen  # fingerprints of subjects published recently: the second time is worth keeping
    Msg express  # all zero but for the fields that the express lane sets
    char* scratch
    char* recv_buf
    char* seal_buf  # scratch of tls.pyx; NULL until there is a connection with TLS
    # of compress.pyx: each NULL until it is needed
    char* plain_buf  # what was unpacked
    size_t plain_cap
    char* gather_buf  # what will be packed
    char* packed_buf
    uint16_t* hash_table
    void* chains
    size_t packed  # work done in this round, in bytes that cost as much to read
    size_t pack_budget  # what this flush may still pack
    Conn* held  # links with more to unpack than a round allows
    int32_t* picks
    uint32_t pick_cap
    # pools
    Chunk* free_large
    Chunk* free_small
    uint32_t nfree_large
    uint32_t nfree_small
    # limits, from Python
    uint32_t max_control_line
    uint32_t max_sub_tokens
    size_t max_pending
    size_t plan_bytes_max
    uint32_t replies_max
    size_t stall_bytes
    uint64_t stall_ns
    uint64_t linger_ns  # how long a tick looks for what often follows at once; 0: not
    uint32_t spin_misses  # 0: the last look found something
    uint64_t write_deadline_ns
    uint64_t leaf_write_deadline_ns
    uint64_t ping_interval_ns
    uint32_t ping_max
    uint8_t stall_enabled
    uint8_t timer_armed
    # totals
    uint64_t in_msgs
    uint64_t in_bytes
    uint64_t out_msgs
    uint64_t out_bytes
    uint64_t subs
    uint64_t slow_clients
    uint64_t slow_leafs
    uint64_t stale_clients
    uint64_t stale_leafs
    uint64_t stalled_clients
    uint64_t inbox_dropped
