import { Command } from 'commander'
import { addAggregates } from './commands/aggregates.ts'
import { addConfig } from './commands/config.ts'
import { addDown } from './commands/down.ts'
import { addDrain } from './commands/drain.ts'
import { addFlexvols } from './commands/flexvols.ts'
import { addHosts } from './commands/hosts.ts'
import { addLists } from './commands/lists.ts'
import { addMigrate } from './commands/migrate.ts'
import { addMove } from './commands/move.ts'
import { addNode } from './commands/node.ts'
import { addNodeCredentials } from './commands/node-credentials.ts'
import { addOperations } from './commands/operations.ts'
import { addProbe } from './commands/probe.ts'
import { addServe } from './commands/serve.ts'
import { addShares } from './commands/shares.ts'
import { addStatus } from './commands/status.ts'
import { addSweep } from './commands/sweep.ts'
import { addUndo } from './commands/undo.ts'
import { addUp } from './commands/up.ts'
import { addVacate } from './commands/vacate.ts'
import { volantVersion } from './version.ts'

/** The whole command line. `main` is the file that `up` runs again in the background. */
export function buildProgram(main: string): Command {
  const program = new Command('volant')
    .description(
      'Block and file storage with the OpenStack APIs; volumes and shares move while they are written.',
    )
    .version(volantVersion())
    // So that a command that has commands and arguments leaves to those what stands behind their names.
    .enablePositionalOptions()
    .showHelpAfterError('(add --help for usage and examples)')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  volant up && volant status',
        '  volant migrate data cinder-lmb --watch',
        '  volant move cinder_flexvol_OSTK02 aggr2 --watch',
        '  volant drain compute-1',
        '',
        'Exit codes: 0 done; 1 failed; 2 wrong usage; 3 Volant does not run, or there is no such thing;',
        '4 refused, nothing was changed; 130 Ctrl-C stopped the watching (the operation goes on).',
        'Which Volant: --state DIR, else the OS_* variables of `source DIR/openrc`, else the default state folder;\nup, serve and down take no notice of OS_*.',
      ].join('\n'),
    )
  addUp(program, main)
  addServe(program, main)
  addDown(program)
  addNode(program)
  addNodeCredentials(program)
  addStatus(program)
  addMigrate(program)
  addMove(program)
  addVacate(program)
  addHosts(program)
  addDrain(program)
  addUndo(program)
  addOperations(program)
  addSweep(program)
  addLists(program)
  addAggregates(program)
  addFlexvols(program)
  addShares(program)
  addProbe(program)
  addConfig(program)
  return program
}
