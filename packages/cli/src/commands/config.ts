import { hostname } from 'node:os'
import type { Command } from 'commander'
import { configDocument, defaultConfig, loadConfig } from '@volant/control/config/index.ts'
import { print, withCommonOptions, type CommonOptions } from '../context.ts'
import { stateFolder } from '../instance/state-folder.ts'
import { formatCount } from '../output/units.ts'

interface ConfigOptions extends CommonOptions {
  check?: string
}

async function config(options: ConfigOptions): Promise<void> {
  const places = { stateDir: stateFolder(options.state), hostname: hostname() }
  if (options.check === undefined) {
    const embedded = defaultConfig(places)
    print(options, embedded, () => configDocument(embedded).trimEnd())
    return
  }
  const { file, ...loaded } = await loadConfig({ ...places, file: options.check })
  const { clusters, computeHosts } = loaded.topology
  const pools = clusters.reduce((count, cluster) => count + cluster.flexvols.length, 0)
  print(
    options,
    loaded,
    () =>
      `${file} is right: ${formatCount(clusters.length, 'cluster')}, ${formatCount(pools, 'pool')}, ` +
      formatCount(computeHosts.length, 'compute host'),
  )
}

export function addConfig(program: Command): void {
  const command = program
    .command('config')
    .description('print the built-in configuration as a commented volant.yaml, or check a file')
    .option('--check <file>', 'tell whether the file is right; each error with line, column and remedy')
    .action(config)
  withCommonOptions(command, ['volant config > volant.yaml', 'volant config --check volant.yaml'])
}
