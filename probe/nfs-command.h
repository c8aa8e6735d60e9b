/* The commands of the NFS guest: README.md lists them. */
#ifndef PROBE_NFS_COMMAND_H
#define PROBE_NFS_COMMAND_H

/* Carries out `ID VERB KEY=VALUE …` in a thread of its own, which reports what came of it. */
void command_start(const char *line);

#endif
