/* A mock OpenAI-compatible server that is never what is measured: one thread, epoll, timers in a
   heap, ~20,000 answers per second on one core, faults on demand, counters of what it has seen.

   build  gcc -O2 -o mock mock_openai.c -lssl -lcrypto -lm      (or: gcc -O2 -DNO_TLS ... -lm)
   run    taskset -c 0 ./mock PORT [cert.pem key.pem]           PORT 0 takes a free one, printed

   POST .../chat/completions  a ChatCompletion after a delay: a verdict, or a task specification
                              for the class named after "Class to be written: " (spec=1)
   GET  .../models            one model
   GET  /__cfg?k=v&..         lat ms, sigma (log-normal spread), p429 p500 p503 preset phang pmalf
                              pbadjson (shares of faults), retry_after s, hang_s, first_only=1 (a
                              request is faulted at its first attempt only), json=1, spec=1, seed
   GET  /__stats              requests, answers, faults by kind, connections accepted, in flight;
                              requests whose body holds REQ-ID:<number> are counted per number
   GET  /__reset              forgets the counts */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifndef NO_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
typedef void SSL_CTX;
#endif

#define MAXFD 20000
#define MAXID 200000
typedef unsigned long long u64;
enum { K_OK, K_429, K_500, K_RESET, K_HANG, K_MALF, K_NOJSON, K_503, K_N };
static const char *KN[] = {"ok",       "e429", "e500", "reset", "hang", "malformed_content",
                           "bad_json", "e503"};

typedef struct {
  int fd;
  int open;
  SSL *ssl;
  int hs;
  char *in;
  int inlen, incap;
  char *out;
  int outlen, outoff, outcap;
  int waiting;
  int kind;
  int id;
  int heapi;
  u64 due;
  int scanned;
  int wantw;
  int close_after;
  int peer_closed;
  char name[256];
} Conn;
static Conn conns[MAXFD];
static Conn *heap[MAXFD];
static int hn = 0;
static int ep, lfd;
static SSL_CTX *ctx = NULL;

enum { TLS_FAILED = -1, TLS_LATER = 0, TLS_WANTS_WRITE = -2 };
#ifndef NO_TLS
static int tls_result(SSL *ssl, int r) {
  if (r > 0)
    return r;
  int e = SSL_get_error(ssl, r);
  ERR_clear_error();
  if (e == SSL_ERROR_WANT_WRITE)
    return TLS_WANTS_WRITE;
  return e == SSL_ERROR_WANT_READ ? TLS_LATER : TLS_FAILED;
}
static int tls_read(SSL *ssl, char *b, int n) { return tls_result(ssl, SSL_read(ssl, b, n)); }
static int tls_write(SSL *ssl, char *b, int n) { return tls_result(ssl, SSL_write(ssl, b, n)); }
static int tls_accept(SSL *ssl) { return tls_result(ssl, SSL_accept(ssl)); }
static void tls_free(SSL *ssl) { SSL_free(ssl); }
static SSL *tls_new(int fd) {
  SSL *ssl = SSL_new(ctx);
  SSL_set_fd(ssl, fd);
  SSL_set_accept_state(ssl);
  return ssl;
}
static int tls_open(const char *cert, const char *key) {
  ctx = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(ctx, cert) <= 0 ||
      SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) <= 0) {
    ERR_print_errors_fp(stderr);
    return 0;
  }
  SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
  return 1;
}
#else
static int tls_read(SSL *ssl, char *b, int n) { return (void)ssl, (void)b, (void)n, TLS_FAILED; }
static int tls_write(SSL *ssl, char *b, int n) { return (void)ssl, (void)b, (void)n, TLS_FAILED; }
static int tls_accept(SSL *ssl) { return (void)ssl, TLS_FAILED; }
static void tls_free(SSL *ssl) { (void)ssl; }
static SSL *tls_new(int fd) { return (void)fd, NULL; }
static int tls_open(const char *cert, const char *key) {
  fprintf(stderr, "built without TLS, cannot use %s and %s\n", cert, key);
  return 0;
}
#endif

/* settings */
static double lat_ms = 0, sigma = 0, p429 = 0, p500 = 0, preset = 0, phang = 0, pmalf = 0,
              pbadjson = 0, p503 = 0, hang_s = 30;
static int retry_after = 1;
static int first_only = 0, jsonmode = 0, specmode = 0;
static u64 rngs = 88172645463325252ULL;
/* counts */
static u64 nreq, kcount[K_N], sent200, accepted, maxbody, inbytes, client_abort, other_req;
static int inflight, peak, openc, peakopen;
static double area, lastt, t_first, t_last;
static unsigned short idcnt[MAXID], idok[MAXID];
static double cpu0, cpu_first;
static int noid;

static u64 now_ns() {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (u64)t.tv_sec * 1000000000ULL + t.tv_nsec;
}
static double cpu_s() {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static double rnd() {
  rngs ^= rngs << 13;
  rngs ^= rngs >> 7;
  rngs ^= rngs << 17;
  return (double)(rngs >> 11) / 9007199254740992.0;
}
static void bump(int d) {
  double t = now_ns() / 1e9;
  if (nreq == 0 && d > 0) {
    t_first = t;
    cpu_first = cpu_s();
  }
  if (lastt > 0)
    area += inflight * (t - lastt);
  lastt = t;
  inflight += d;
  if (inflight > peak)
    peak = inflight;
  t_last = t;
}
static void hswap(int a, int b) {
  Conn *t = heap[a];
  heap[a] = heap[b];
  heap[b] = t;
  heap[a]->heapi = a;
  heap[b]->heapi = b;
}
static void hup(int i) {
  while (i > 0 && heap[(i - 1) / 2]->due > heap[i]->due) {
    hswap(i, (i - 1) / 2);
    i = (i - 1) / 2;
  }
}
static void hdown(int i) {
  for (;;) {
    int l = 2 * i + 1, r = l + 1, m = i;
    if (l < hn && heap[l]->due < heap[m]->due)
      m = l;
    if (r < hn && heap[r]->due < heap[m]->due)
      m = r;
    if (m == i)
      return;
    hswap(i, m);
    i = m;
  }
}
static void hpush(Conn *c) {
  c->heapi = hn;
  heap[hn++] = c;
  hup(c->heapi);
}
static void hdel(Conn *c) {
  int i = c->heapi;
  if (i < 0)
    return;
  hn--;
  if (i != hn) {
    heap[i] = heap[hn];
    heap[i]->heapi = i;
    hup(i);
    hdown(i);
  }
  c->heapi = -1;
}

static void cclose(Conn *c, int rst) {
  if (!c->open)
    return;
  if (c->waiting) {
    bump(-1);
    if (!rst)
      client_abort++;
    c->waiting = 0;
    hdel(c);
  }
  if (rst) {
    struct linger l = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
  }
  if (c->ssl) {
    tls_free(c->ssl);
    c->ssl = NULL;
  }
  close(c->fd);
  c->open = 0;
  openc--;
  c->inlen = 0;
  c->scanned = 0;
}
static void setev(Conn *c, int w) {
  if (c->wantw == w)
    return;
  c->wantw = w;
  struct epoll_event e = {EPOLLIN | (w ? EPOLLOUT : 0), {.ptr = c}};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}
static int rawread(Conn *c, char *b, int n) {
  if (!c->ssl) {
    int r = recv(c->fd, b, n, 0);
    if (r > 0)
      return r;
    if (r == 0)
      return -1;
    return (errno == EAGAIN || errno == EINTR) ? 0 : -1;
  }
  int r = tls_read(c->ssl, b, n);
  return r == TLS_WANTS_WRITE ? 0 : r;
}
static int rawwrite(Conn *c, char *b, int n) {
  if (!c->ssl) {
    int r = send(c->fd, b, n, MSG_NOSIGNAL);
    if (r >= 0)
      return r;
    return (errno == EAGAIN || errno == EINTR) ? 0 : -1;
  }
  int r = tls_write(c->ssl, b, n);
  return r == TLS_WANTS_WRITE ? 0 : r;
}
static void process(Conn *c);
static void flushc(Conn *c) {
  while (c->outoff < c->outlen) {
    int r = rawwrite(c, c->out + c->outoff, c->outlen - c->outoff);
    if (r < 0) {
      cclose(c, 0);
      return;
    }
    if (r == 0) {
      setev(c, 1);
      return;
    }
    c->outoff += r;
  }
  c->outlen = c->outoff = 0;
  setev(c, 0);
  if (c->close_after) {
    cclose(c, 0);
    return;
  }
}
static void reply(Conn *c, const char *status, const char *extra, const char *body, int blen) {
  int need = blen + 1024;
  if (c->outcap < need) {
    c->out = realloc(c->out, need);
    c->outcap = need;
  }
  int n = sprintf(
      c->out,
      "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s"
      "x-request-id: req_%08llu\r\nx-ratelimit-limit-requests: "
      "1000000\r\nx-ratelimit-limit-tokens: 1000000000\r\nx-ratelimit-remaining-requests: "
      "999999\r\nx-ratelimit-remaining-tokens: 999999999\r\nopenai-processing-ms: 200\r\n\r\n",
      status, blen, extra, nreq);
  memcpy(c->out + n, body, blen);
  c->outlen = n + blen;
  c->outoff = 0;
  flushc(c);
}
static const char *ERRT =
    "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}";
/* What the answer says, as the inside of a JSON string. */
static void write_content(Conn *c, char *out) {
  int id = c->id < 0 ? 0 : c->id, difficulty = id * 7 % 11, style = id * 5 % 9 + 1;
  if (c->kind == K_MALF)
    sprintf(out, "REQ-ID:%06d\\nI am sorry, I cannot rate this kernel.", id);
  else if (specmode)
    sprintf(
        out,
        "<specification>\\n## Interface\\nWrite the class %s with the signatures of the module."
        "\\n## Initialisation parameters\\nAs in the module, with the same defaults.\\n## Inputs"
        "\\nTensors of the shapes and types that the module's file gives.\\n## Computation\\nThe "
        "result is computed element by element and then reduced over the last dimension; every "
        "constant is the module's own.\\n## Output\\nOne tensor of the input's data type.\\n## "
        "Requirements\\nResults agree within floating-point tolerance; the numerical work is "
        "done in Triton kernels.\\n## Output format\\nThe complete program between a line "
        "BEGIN_PYTHON and a line END_PYTHON.\\n</specification>",
        c->name);
  else if (jsonmode)
    sprintf(
        out,
        "{\\\"difficulty_reason\\\": \\\"REQ-ID:%06d, a simple fused operation\\\", "
        "\\\"difficulty\\\": %d, \\\"style_reason\\\": \\\"Clear masks, a sensible block size and "
        "readable names\\\", \\\"style\\\": %d}",
        id, difficulty, style);
  else
    sprintf(out,
            "REQ-ID:%06d\\nDifficulty reason: a simple fused elementwise operation.\\n"
            "<difficulty>%d</difficulty>\\nStyle reason: clear masks, a sensible block size and "
            "readable names; little reuse of loads.\\n<style>%d</style>",
            id, difficulty, style);
}
/* Keeps the class name that a request for a specification gives. */
static void find_name(Conn *c, char *body, int bl) {
  static const char mark[] = "Class to be written: ";
  char *m = memmem(body, bl, mark, sizeof mark - 1);
  int n = 0;
  if (m)
    for (m += sizeof mark - 1; m < body + bl && n < (int)sizeof c->name - 1; m++) {
      if (*m == '\\' || *m == '"')
        break;
      c->name[n++] = *m;
    }
  c->name[n] = 0;
}
static void respond(Conn *c) {
  char b[4096];
  int n;
  int k = c->kind;
  bump(-1);
  c->waiting = 0;
  switch (k) {
  case K_429: {
    char h[64];
    sprintf(h, "Retry-After: %d\r\n", retry_after);
    n = sprintf(b, ERRT, "Rate limit reached", "rate_limit_error", "rate_limit_exceeded");
    reply(c, "429 Too Many Requests", h, b, n);
    break;
  }
  case K_500:
    n = sprintf(b, ERRT, "The server had an error", "server_error", "internal");
    reply(c, "500 Internal Server Error", "", b, n);
    break;
  case K_503:
    n = sprintf(b, ERRT, "Overloaded", "server_error", "overloaded");
    reply(c, "503 Service Unavailable", "", b, n);
    break;
  case K_RESET:
    cclose(c, 1);
    return;
  case K_NOJSON:
    n = sprintf(
        b,
        "{\"id\":\"chatcmpl-x\",\"object\":\"chat.completion\",\"choices\":[{\"index\":0,\"mess");
    reply(c, "200 OK", "", b, n);
    sent200++;
    break;
  default: {
    char content[2048];
    write_content(c, content);
    n = sprintf(
        b,
        "{\"id\":\"chatcmpl-%012llu\",\"object\":\"chat.completion\",\"created\":1764000000,"
        "\"model\":\"gpt-5.2\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_"
        "reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":2900,\"completion_tokens\":52,\"total_"
        "tokens\":2952,\"prompt_tokens_details\":{\"cached_tokens\":512,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_"
        "prediction_tokens\":0,\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\","
        "\"system_fingerprint\":\"fp_mock\"}",
        nreq, content);
    sent200++;
    if (k != K_MALF && c->id >= 0)
      idok[c->id]++;
    reply(c, "200 OK", "", b, n);
  }
  }
  if (c->open && c->inlen)
    process(c);
}
static void resetstats() {
  nreq = sent200 = client_abort = maxbody = inbytes = other_req = 0;
  memset(kcount, 0, sizeof kcount);
  peak = inflight;
  peakopen = openc;
  accepted = 0;
  area = 0;
  lastt = 0;
  t_first = t_last = 0;
  memset(idcnt, 0, sizeof idcnt);
  memset(idok, 0, sizeof idok);
  noid = 0;
  cpu0 = cpu_s();
  cpu_first = 0;
}
static double qv(const char *q, const char *k, double d) {
  char key[32];
  sprintf(key, "%s=", k);
  const char *p = q;
  while ((p = strstr(p, key))) {
    if (p[-1] == '?' || p[-1] == '&')
      return atof(p + strlen(key));
    p++;
  }
  return d;
}
static void admin(Conn *c, const char *path) {
  char b[4096];
  int n = 0;
  if (!strncmp(path, "/__cfg", 6)) {
    lat_ms = qv(path, "lat", lat_ms);
    sigma = qv(path, "sigma", sigma);
    p429 = qv(path, "p429", p429);
    p500 = qv(path, "p500", p500);
    preset = qv(path, "preset", preset);
    phang = qv(path, "phang", phang);
    pmalf = qv(path, "pmalf", pmalf);
    pbadjson = qv(path, "pbadjson", pbadjson);
    p503 = qv(path, "p503", p503);
    hang_s = qv(path, "hang_s", hang_s);
    retry_after = qv(path, "retry_after", retry_after);
    first_only = qv(path, "first_only", first_only);
    jsonmode = qv(path, "json", jsonmode);
    specmode = qv(path, "spec", specmode);
    double s = qv(path, "seed", 0);
    if (s > 0)
      rngs = 88172645463325252ULL ^ ((u64)s * 2654435761ULL);
    n = sprintf(b,
                "{\"lat\":%g,\"sigma\":%g,\"p429\":%g,\"p500\":%g,\"preset\":%g,\"phang\":%g,"
                "\"pmalf\":%g,\"pbadjson\":%g,\"p503\":%g}",
                lat_ms, sigma, p429, p500, preset, phang, pmalf, pbadjson, p503);
  } else if (!strncmp(path, "/__reset", 8)) {
    resetstats();
    n = sprintf(b, "{}");
  } else if (!strncmp(path, "/__stats", 8)) {
    int uniq = 0, dups = 0, okuniq = 0, okdups = 0, maxc = 0;
    for (int i = 0; i < MAXID; i++) {
      if (idcnt[i]) {
        uniq++;
        dups += idcnt[i] - 1;
        if (idcnt[i] > maxc)
          maxc = idcnt[i];
      }
      if (idok[i]) {
        okuniq++;
        okdups += idok[i] - 1;
      }
    }
    double dt = t_last - t_first;
    n = sprintf(b,
                "{\"nreq\":%llu,\"sent200\":%llu,\"inflight\":%d,\"peak\":%d,\"mean_inflight\":%."
                "2f,\"span_s\":%.4f,\"accepted\":%llu,\"open\":%d,\"peakopen\":%d,\"client_abort\":"
                "%llu,\"maxbody\":%llu,\"inbytes\":%llu,\"other_req\":%llu,\"noid\":%d,\"uniq\":%d,"
                "\"dups\":%d,\"ok_uniq\":%d,\"ok_dups\":%d,\"max_per_id\":%d,\"server_cpu\":%.4f",
                nreq, sent200, inflight, peak, dt > 0 ? area / dt : 0, dt, accepted, openc,
                peakopen, client_abort, maxbody, inbytes, other_req, noid, uniq, dups, okuniq,
                okdups, maxc, cpu_s() - cpu0);
    for (int i = 0; i < K_N; i++)
      n += sprintf(b + n, ",\"%s\":%llu", KN[i], kcount[i]);
    n += sprintf(b + n, "}");
  } else if (strstr(path, "/models")) {
    n = sprintf(b, "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-5.2\",\"object\":\"model\","
                   "\"created\":1764000000,\"owned_by\":\"mock\"}]}");
    other_req++;
  } else {
    other_req++;
    fprintf(stderr, "404 %s\n", path);
    n = sprintf(b, ERRT, "not found", "invalid_request_error", "404");
    reply(c, "404 Not Found", "", b, n);
    return;
  }
  reply(c, "200 OK", "", b, n);
}
static int hdr(const char *h, int hl, const char *name, char *out, int cap) {
  int nl = strlen(name);
  for (int i = 0; i + nl < hl; i++)
    if ((i == 0 || h[i - 1] == '\n') && !strncasecmp(h + i, name, nl) && h[i + nl] == ':') {
      int j = i + nl + 1;
      while (h[j] == ' ')
        j++;
      int k = 0;
      while (j < hl && h[j] != '\r' && k < cap - 1)
        out[k++] = h[j++];
      out[k] = 0;
      return 1;
    }
  return 0;
}
static void process(Conn *c) {
  while (c->open && !c->waiting && c->outlen == 0 && c->inlen > 0) {
    char *e = memmem(c->in, c->inlen, "\r\n\r\n", 4);
    if (!e) {
      if (c->inlen > 65536)
        cclose(c, 0);
      return;
    }
    int hl = e - c->in + 4;
    char v[64];
    long cl = 0;
    int chunked = 0;
    int total;
    char *body;
    int bl;
    if (hdr(c->in, hl, "content-length", v, 64))
      cl = atol(v);
    else if (hdr(c->in, hl, "transfer-encoding", v, 64) && strcasestr(v, "chunked"))
      chunked = 1;
    if (!c->scanned && hdr(c->in, hl, "expect", v, 64)) {
      rawwrite(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
      c->scanned = 1;
    }
    if (chunked) { /* find the terminating chunk by walking */
      char *p = c->in + hl, *end = c->in + c->inlen;
      int done = 0;
      while (p < end) {
        char *nl = memmem(p, end - p, "\r\n", 2);
        if (!nl)
          break;
        long sz = strtol(p, NULL, 16);
        if (sz == 0) {
          if (nl + 4 <= end) {
            done = 1;
            p = nl + 4;
          }
          break;
        }
        if (nl + 2 + sz + 2 > end)
          break;
        p = nl + 2 + sz + 2;
      }
      if (!done)
        return;
      body = c->in + hl;
      bl = p - body;
      total = p - c->in;
    } else {
      total = hl + cl;
      if (c->inlen < total)
        return;
      body = c->in + hl;
      bl = cl;
    }
    char path[512];
    char *sp = memchr(c->in, ' ', hl);
    int pn = 0;
    if (sp) {
      sp++;
      while (sp[pn] != ' ' && sp[pn] != '\r' && pn < 511) {
        path[pn] = sp[pn];
        pn++;
      }
    }
    path[pn] = 0;
    c->close_after = 0;
    if (hdr(c->in, hl, "connection", v, 64) && !strcasecmp(v, "close"))
      c->close_after = 1;
    int isadmin = !strstr(path, "/chat/completions");
    if (!isadmin) {
      int id = -1;
      char *m = memmem(body, bl > 4096 ? 4096 : bl, "REQ-ID:", 7);
      if (!m && bl > 4096)
        m = memmem(body, bl, "REQ-ID:", 7);
      if (m) {
        id = atoi(m + 7);
        if (id < 0 || id >= MAXID)
          id = -1;
      }
      if (specmode)
        find_name(c, body, bl);
      bump(1);
      nreq++;
      inbytes += total;
      if ((u64)bl > maxbody)
        maxbody = bl;
      int seen = 0;
      if (id >= 0) {
        seen = idcnt[id];
        idcnt[id]++;
      } else
        noid++;
      c->id = id;
      double r = rnd();
      int k = K_OK;
      if (!(first_only && seen)) {
        if (r < p429)
          k = K_429;
        else if ((r -= p429) < p500)
          k = K_500;
        else if ((r -= p500) < preset)
          k = K_RESET;
        else if ((r -= preset) < phang)
          k = K_HANG;
        else if ((r -= phang) < pmalf)
          k = K_MALF;
        else if ((r -= pmalf) < pbadjson)
          k = K_NOJSON;
        else if ((r -= pbadjson) < p503)
          k = K_503;
      }
      kcount[k]++;
      c->kind = k;
      double d = lat_ms;
      if (sigma > 0) {
        double u1 = rnd() + 1e-12, u2 = rnd();
        d = lat_ms * exp(sigma * sqrt(-2 * log(u1)) * cos(6.283185307179586 * u2));
      }
      if (k == K_429 || k == K_500 || k == K_503)
        d = d * 0.25;
      if (k == K_HANG)
        d = hang_s * 1000;
      c->waiting = 1;
      c->due = now_ns() + (u64)(d * 1e6);
    }
    memmove(c->in, c->in + total, c->inlen - total);
    c->inlen -= total;
    c->scanned = 0;
    if (isadmin)
      admin(c, path);
    else if (lat_ms <= 0 && c->kind != K_HANG) {
      respond(c);
      return;
    } else
      hpush(c);
  }
}
static void onread(Conn *c) {
  if (c->ssl && !c->hs) {
    int r = tls_accept(c->ssl);
    if (r == TLS_LATER)
      return;
    if (r == TLS_WANTS_WRITE) {
      setev(c, 1);
      return;
    }
    if (r == TLS_FAILED) {
      cclose(c, 0);
      return;
    }
    c->hs = 1;
  }
  for (;;) {
    if (c->incap - c->inlen < 16384) {
      c->incap = c->incap ? c->incap * 2 : 65536;
      c->in = realloc(c->in, c->incap);
    }
    int want = c->incap - c->inlen;
    int r = rawread(c, c->in + c->inlen, want);
    if (r < 0) {
      cclose(c, 0);
      return;
    }
    if (r == 0)
      break;
    c->inlen += r;
    if (!c->ssl && r < want)
      break;
  }
  process(c);
}
int main(int ac, char **av) {
  signal(SIGPIPE, SIG_IGN);
  int port = ac > 1 ? atoi(av[1]) : 18080;
  if (ac > 3 && !tls_open(av[2], av[3]))
    return 1;
  struct rlimit rl = {MAXFD, MAXFD};
  setrlimit(RLIMIT_NOFILE, &rl);
  lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(lfd, (void *)&a, sizeof a) || listen(lfd, 4096)) {
    perror("bind");
    return 1;
  }
  socklen_t size = sizeof a;
  getsockname(lfd, (void *)&a, &size);
  printf("%d\n", ntohs(a.sin_port));
  fflush(stdout);
  ep = epoll_create1(0);
  struct epoll_event e = {EPOLLIN, {.ptr = NULL}};
  epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &e);
  resetstats();
  struct epoll_event ev[512];
  for (;;) {
    struct timespec ts, *tp = NULL;
    if (hn) {
      u64 n = now_ns();
      u64 d = heap[0]->due > n ? heap[0]->due - n : 0;
      ts.tv_sec = d / 1000000000ULL;
      ts.tv_nsec = d % 1000000000ULL;
      tp = &ts;
    }
    int n = epoll_pwait2(ep, ev, 512, tp, NULL);
    if (n < 0 && errno != EINTR) {
      perror("epoll");
      return 1;
    }
    for (int i = 0; i < n; i++) {
      Conn *c = ev[i].data.ptr;
      if (!c) {
        for (;;) {
          int fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (fd < 0)
            break;
          if (fd >= MAXFD) {
            close(fd);
            continue;
          }
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          Conn *k = &conns[fd];
          k->fd = fd;
          k->open = 1;
          k->inlen = 0;
          k->outlen = k->outoff = 0;
          k->waiting = 0;
          k->heapi = -1;
          k->wantw = 0;
          k->scanned = 0;
          k->close_after = 0;
          k->hs = 0;
          k->ssl = NULL;
          if (ctx)
            k->ssl = tls_new(fd);
          accepted++;
          openc++;
          if (openc > peakopen)
            peakopen = openc;
          struct epoll_event e2 = {EPOLLIN, {.ptr = k}};
          epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e2);
        }
        continue;
      }
      if (!c->open)
        continue;
      if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        onread(c);
        if (!c->open)
          continue;
      }
      if (ev[i].events & EPOLLOUT) {
        if (c->ssl && !c->hs)
          onread(c);
        else
          flushc(c);
        if (c->open && c->outlen == 0 && c->inlen && !c->waiting)
          process(c);
      }
    }
    if (hn) {
      u64 t = now_ns();
      while (hn && heap[0]->due <= t) {
        Conn *c = heap[0];
        hdel(c);
        respond(c);
      }
    }
  }
}
