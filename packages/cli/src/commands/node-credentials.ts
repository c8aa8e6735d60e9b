import { hostname } from 'node:os'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { print, withCommonOptions, type CommonOptions } from '../context.ts'
import { requireStateFolder, stateFolder } from '../instance/state-folder.ts'

interface NodeCredentialsOptions extends CommonOptions {
  config?: string
}

async function nodeCredentials(name: string, to: string, options: NodeCredentialsOptions): Promise<void> {
  const stateDir = stateFolder(options.state)
  await requireStateFolder(stateDir)
  const folder = resolve(to)
  const { issueNodeCredentials } = await import('@volant/control/node-credentials.ts')
  const { url } = await issueNodeCredentials({
    stateDir,
    hostname: hostname(),
    name,
    folder,
    ...(options.config === undefined ? {} : { configPath: resolve(options.config) }),
  })
  print(options, { name, folder, url }, () =>
    [
      `${folder} has the credentials of ${name}. They are secret: copy the folder to its machine over a safe way, and run there:`,
      `  volant node ${folder}`,
    ].join('\n'),
  )
}

export function addNodeCredentials(program: Command): void {
  const command = program
    .command('node-credentials <name> <folder>')
    .description(
      'write the folder with which `volant node` runs the agents of another machine; again after each change of the configuration',
    )
    .option(
      '--config <file>',
      'configuration file (default: volant.yaml in the state folder, if there is one)',
    )
    .action(nodeCredentials)
  withCommonOptions(command, [
    'volant node-credentials store-a-storage ./store-a',
    'volant node-credentials store-a-storage ./store-a --config volant.yaml',
  ])
}
