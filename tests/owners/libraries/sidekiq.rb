require "sidekiq"
require "sidekiq/api"
require "sidekiq/cli"

Sidekiq.logger.level = Logger::ERROR

class Mail
  include Sidekiq::Worker
  sidekiq_options retry: 3
  def perform(name)
    raise "bad" if name == "bad"
    sleep 6 if name == "slow"
  end
end

Mail.perform_async("good")
Mail.perform_async("bad")
Mail.set(queue: "low").perform_async("good")
Mail.perform_in(3600, "later")
Mail.perform_async("slow")

launcher = nil
Sidekiq.configure_server { |config| config.redis = { url: ENV["REDIS_URL"] } }
options = Sidekiq.respond_to?(:options) ? Sidekiq.options : Sidekiq
options[:queues] = %w[default low]
options[:concurrency] = 2
options[:tag] = "app"
require "sidekiq/launcher"
launcher = Sidekiq::Launcher.new(options)
launcher.run
sleep 12
launcher.stop
Sidekiq::DeadSet.new.to_a
Sidekiq::Queue.all.map(&:size)
puts "sidekiq #{Sidekiq::VERSION}"
exit! 0
