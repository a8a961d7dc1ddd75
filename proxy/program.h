/* program.h: the program's own file, and starting it once more. Control thread. */
#ifndef PROXY_PROGRAM_H
#define PROXY_PROGRAM_H

#include <sys/types.h>

/* First thing at the start, while the file that runs still lies where it was: remembers where that is and how
 * it was called. `argv` lives as long as the process. */
void program_remember(char *const *argv);
/* Absolute; "": not known. Another file may lie there by now. */
const char *program_path(void);
/* Starts what lies there, with the same arguments and environment, and `channel` as HANDOVER_CHILD_FD. It is
 * the leader of a process group. 0, or an errno: nothing was started. */
int program_spawn(int channel, pid_t *pid);

#endif
