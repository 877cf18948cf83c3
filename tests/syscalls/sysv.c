/* SysV shared memory, semaphores and message queues, among processes; waiting ones and how they are interrupted. */
#include "t.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/time.h>

struct message {
  long type;
  char text[32];
};

static void on_signal(int sig)
{
  (void)sig;
}

/* Signals again and again, so that it does not matter when the wait begins. */
static void interrupt(bool on)
{
  struct itimerval t = {{0, on ? 20000 : 0}, {0, on ? 20000 : 0}};
  setitimer(ITIMER_REAL, &t, 0);
}

static void memory(void)
{
  struct shmid_ds ds;
  int id = (int)OK(shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600));
  char *p = shmat(id, 0, 0), *q = shmat(id, 0, SHM_RDONLY);
  YES(p != (void *)-1 && q != (void *)-1 && p != q);
  pid_t pid = fork();
  if (!pid) {
    strcpy(p, "from the child");
    _exit(shmdt(p) ? 1 : 0);
  }
  wait_for(pid, "child");
  say("%s", q);
  T(shmctl(id, IPC_STAT, &ds));
  say("size %zu attached %lu mode %o", ds.shm_segsz, (unsigned long)ds.shm_nattch, ds.shm_perm.mode);
  YES(ds.shm_cpid == getpid() && ds.shm_perm.uid == getuid() && ds.shm_perm.cgid == getgid());
  ds.shm_perm.mode = 0640;
  T(shmctl(id, IPC_SET, &ds));
  T(shmctl(id, IPC_STAT, &ds));
  say("mode %o mine %d", ds.shm_perm.mode, ds.shm_perm.uid == getuid());
  T(shmdt(q));
  T(shmdt(q));
  T(shmctl(id, IPC_RMID, 0));
  say("%s", p);
  T(shmdt(p));
  T(shmat(id, 0, 0) != (void *)-1);
  T(shmget(IPC_PRIVATE, 0, IPC_CREAT | 0600));
}

static void semaphores(void)
{
  int id = (int)OK(semget(IPC_PRIVATE, 2, IPC_CREAT | 0600));
  struct sembuf take = {0, -1, 0}, give = {0, 1, 0}, now = {0, -1, IPC_NOWAIT}, undo = {1, 3, SEM_UNDO};
  struct timespec little = {0, 1000000};
  struct semid_ds ds;
  T(semop(id, &now, 1));
  T(semtimedop(id, &take, 1, &little));
  pid_t pid = fork();
  if (!pid) {
    semop(id, &undo, 1);
    semop(id, &give, 1);
    _exit(0);
  }
  T(semop(id, &take, 1));
  wait_for(pid, "child");
  T(semctl(id, 0, GETVAL));
  T(semctl(id, 1, GETVAL));
  T(semctl(id, 1, SETVAL, 7));
  T(semctl(id, 1, GETVAL));
  T(semctl(id, 0, GETNCNT));
  T(semctl(id, 0, IPC_STAT, &ds));
  YES(ds.sem_nsems == 2 && ds.sem_perm.uid == getuid());
  interrupt(true);
  T(semop(id, &take, 1));
  interrupt(false);
  T(semctl(id, 0, IPC_RMID));
  T(semop(id, &now, 1));
}

static void messages(void)
{
  struct message m = {3, "three"}, got;
  struct msqid_ds ds;
  int id = (int)OK(msgget(IPC_PRIVATE, IPC_CREAT | 0600));
  T(msgrcv(id, &got, sizeof got.text, 0, IPC_NOWAIT));
  pid_t pid = fork();
  if (!pid) {
    msgsnd(id, &m, sizeof m.text, 0);
    m = (struct message){2, "two"};
    msgsnd(id, &m, sizeof m.text, 0);
    _exit(0);
  }
  wait_for(pid, "child");
  T(msgrcv(id, &got, sizeof got.text, -2, 0));
  say("type %ld %s", got.type, got.text);
  T(msgrcv(id, &got, 2, 0, 0));
  T(msgrcv(id, &got, 2, 0, MSG_NOERROR));
  say("type %ld %.2s", got.type, got.text);
  T(msgctl(id, IPC_STAT, &ds));
  say("%lu messages", (unsigned long)ds.msg_qnum);
  interrupt(true);
  T(msgrcv(id, &got, sizeof got.text, 0, 0));
  interrupt(false);
  m.type = 0;
  T(msgsnd(id, &m, 1, 0));
  T(msgctl(id, IPC_RMID, 0));
  T(msgsnd(id, &m, 1, 0));
}

int main(void)
{
  sigaction(SIGALRM, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, 0);
  memory();
  semaphores();
  messages();
  return 0;
}
